"""Bodies of requests: tensors by role and name, and the rest as JSON."""

import base64
import binascii
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar

import numpy as np
import orjson
from pydantic import BaseModel, ValidationError

from certisolve import wire
from certisolve_server.errors import (
    InvalidOption,
    InvalidRequest,
    MalformedBody,
    UnsupportedMediaType,
    WrongShape,
)
from certisolve_server.jobs import Array

JSON = "application/json"
_NUMBERS = "biuf"

_Body = TypeVar("_Body", bound=BaseModel)


class Parts(NamedTuple):
    """A body taken apart.

    Attributes:
        tensors: by role and name; views of the body.
        untyped: names of the tensors of the first role that came as plain JSON numbers, without an
            element type.
        rest: what else is said.
    """

    tensors: Mapping[str, dict[str, Array]]
    untyped: frozenset[str]
    rest: dict[str, Any]


def take_apart(media_type: str, body: bytes, *roles: str) -> Parts:
    """The parts of a body.

    In JSON, a role is a key with an object of tensors. In safetensors, tensors of the first role go
    by their names, those of others by `<role>.<name>`.

    Args:
        media_type: of the body; a body that starts like a JSON object is read as one whatever the
            type says, because `curl -d` calls everything a form.
        body: whole.
        roles: of tensors.

    Raises:
        InvalidRequest: a subclass that names the field at fault.
    """
    if media_type == wire.SAFETENSORS:
        return _read_safetensors(body, roles)
    if media_type == JSON or body.lstrip()[:1] == b"{":
        return _read_json(body, roles)
    raise UnsupportedMediaType(f"{media_type or 'no type'}: send {wire.SAFETENSORS} or {JSON}")


def validated(schema: type[_Body], rest: Mapping[str, Any], at: str = "") -> _Body:
    """What a body says beside its tensors.

    Args:
        schema: of it.
        rest: to be checked.
        at: path of the part of the body that it is; empty for the whole.

    Raises:
        InvalidOption: a key is unknown, or its value malformed.
    """
    try:
        return schema.model_validate(rest)
    except ValidationError as error:
        raise _as_invalid_request(error, at) from error


def _read_safetensors(body: bytes, roles: tuple[str, ...]) -> Parts:
    first, *others = roles
    try:
        tensors, rest = wire.decode_safetensors(body)
    except wire.WireError as error:
        raise MalformedBody(error.problem, field=_path(first, error.field)) from error
    taken: dict[str, dict[str, Array]] = {first: tensors}
    for role in others:
        prefix = f"{role}."
        names = [name for name in tensors if name.startswith(prefix)]
        taken[role] = {name.removeprefix(prefix): tensors.pop(name) for name in names}
    return Parts(taken, frozenset(), rest)


def _read_json(body: bytes, roles: tuple[str, ...]) -> Parts:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise MalformedBody(f"not JSON: {error}") from error
    if not isinstance(document, dict):
        raise MalformedBody(f"the body must be a JSON object with the key {roles[0]}")
    taken: dict[str, dict[str, Array]] = {}
    untyped: frozenset[str] = frozenset()
    for role in roles:
        values = document.pop(role, {})
        if not isinstance(values, dict):
            raise MalformedBody("must be an object of arrays by name", field=role)
        taken[role] = read_arrays(role, values)
        if role == roles[0]:
            plain = (name for name, value in values.items() if not isinstance(value, dict))
            untyped = frozenset(plain)
    return Parts(taken, untyped, document)


def read_arrays(role: str, values: Mapping[str, object]) -> dict[str, Array]:
    """Tensors as JSON has them: nested lists, or element type, shape and base64.

    Args:
        role: that their fields begin with.
        values: by name.

    Raises:
        InvalidRequest: `MalformedBody` or `WrongShape`, with the field at fault.
    """
    return {name: _read_array(role, name, value) for name, value in values.items()}


def _read_array(role: str, name: str, value: object) -> Array:
    field = _path(role, name)
    if isinstance(value, dict):
        return _read_base64(field, value)
    try:
        array = np.asarray(value)
    except (ValueError, OverflowError) as error:
        raise WrongShape("rows of different length", field=field) from error
    if array.dtype.kind not in _NUMBERS and array.size:
        raise MalformedBody("every element must be a number", field=field)
    return array


def _read_base64(field: str, value: dict[str, Any]) -> Array:
    match value:
        case {"dtype": str(dtype), "shape": [*shape], "data": str(data)}:
            pass
        case _:
            raise MalformedBody("needs dtype, shape and base64 data", field=field)
    try:
        return wire.from_bytes(field, dtype, shape, base64.b64decode(data, validate=True))
    except (binascii.Error, ValueError) as error:
        problem = error.problem if isinstance(error, wire.WireError) else f"not base64: {error}"
        raise MalformedBody(problem, field=field) from error


def _as_invalid_request(error: ValidationError, at: str) -> InvalidRequest:
    first = error.errors(include_url=False, include_context=False)[0]
    field = ".".join(str(part) for part in (at, *first["loc"]) if part != "")
    if first["type"] == "extra_forbidden":
        return InvalidOption("unknown key", field=field)
    return InvalidOption(first["msg"], field=field)


def _path(role: str, name: str) -> str:
    return f"{role}.{name}" if name else ""

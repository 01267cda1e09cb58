"""HTTP bodies to requests, solutions to HTTP bodies."""

import base64
import binascii
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import orjson
from pydantic import ValidationError

from certisolve import wire
from certisolve_server.errors import (
    InvalidOption,
    InvalidRequest,
    MalformedBody,
    UnsupportedMediaType,
    WrongShape,
)
from certisolve_server.jobs import Array, Solution, SolveRequest, Terms

from .schemas import SolveBody

JSON = "application/json"
_NUMBERS = "biuf"
_NOTHING_MORE = SolveBody()


class Encoded(NamedTuple):
    """A reply's bytes and their media type."""

    body: bytes
    media_type: str


def decode_solve(model: str, media_type: str, body: bytes, terms: Terms) -> SolveRequest:
    """The request in a body; its arrays are views of the body.

    Args:
        model: from the path.
        media_type: of the body; a body that starts like a JSON object is read as one whatever the
            type says, because `curl -d` calls everything a form.
        body: whole.
        terms: from the headers.

    Raises:
        InvalidRequest: a subclass that names the field at fault.
    """
    if media_type == wire.SAFETENSORS:
        inputs, rest = _read_safetensors(body)
        untyped: frozenset[str] = frozenset()
    elif media_type == JSON or body.lstrip()[:1] == b"{":
        inputs, untyped, rest = _read_json(body)
    else:
        raise UnsupportedMediaType(f"{media_type or 'no type'}: send {wire.SAFETENSORS} or {JSON}")
    parsed = _validate(rest)
    return SolveRequest(
        model=model,
        version=parsed.version,
        inputs=inputs,
        untyped=untyped,
        parameters=parsed.parameters,
        t=None if parsed.t is None else tuple(parsed.t),
        tolerance=parsed.options.tolerance,
        rtol=parsed.options.rtol,
        atol=parsed.options.atol,
        steps=parsed.steps,
        save_every=parsed.options.save_every,
        resume_from=parsed.options.resume_from,
        diagnostics=parsed.options.diagnostics,
        terms=terms,
    )


def encode_solution(solution: Solution, media_type: str) -> Encoded:
    """A solution in one of the two media types."""
    return _encode(solution, solution_metadata(solution), media_type)


def encode_job_result(job: Mapping[str, Any], solution: Solution, media_type: str) -> Encoded:
    """A succeeded job with its solution.

    Args:
        job: what is said of it beside the solution.
        solution: becomes its `result`.
        media_type: of the reply.
    """
    if media_type == JSON:
        result = {**_json_tensors(solution), **solution_metadata(solution)}
        return Encoded(_dump({**job, "result": result}), JSON)
    return _encode(solution, {**job, "result": solution_metadata(solution)}, media_type)


def encode_json(document: Mapping[str, Any]) -> bytes:
    """A JSON document; numpy arrays become lists, NaN becomes null."""
    return _dump(document)


def preferred_type(accept: str | None, request_type: str) -> str:
    """The first media type of `Accept` that is spoken here, else the request's."""
    for choice in (accept or "").split(","):
        media_type = choice.partition(";")[0].strip()
        if media_type in (JSON, wire.SAFETENSORS):
            return media_type
    return wire.SAFETENSORS if request_type == wire.SAFETENSORS else JSON


def solution_metadata(solution: Solution) -> dict[str, Any]:
    """Everything about a solution but its tensors."""
    manifest, timings = solution.artifact.manifest, solution.timings
    return {
        "axes": solution.axes,
        "t": solution.t,
        "status": solution.status,
        "diagnostics": solution.diagnostics and solution.diagnostics.told(),
        "timings_ms": {
            "queue": timings.queue_ms,
            "batch": timings.batch_ms,
            "compute": timings.compute_ms,
        },
        "batch_size": solution.batch_size,
        "model": {
            "name": manifest.name,
            "version": manifest.version,
            "digest": solution.artifact.digest,
        },
    }


def _encode(solution: Solution, metadata: Mapping[str, Any], media_type: str) -> Encoded:
    if media_type == JSON:
        return Encoded(_dump({**_json_tensors(solution), **metadata}), JSON)
    coords = {f"coords.{axis}": points for axis, points in solution.coords.items()}
    tensors = {**solution.fields, **coords}
    return Encoded(wire.encode_safetensors(tensors, _dump(metadata).decode()), wire.SAFETENSORS)


def _json_tensors(solution: Solution) -> dict[str, Any]:
    fields = {name: _json_array(array) for name, array in solution.fields.items()}
    return {"fields": fields, "coords": solution.coords}


def _json_array(array: Array) -> Any:
    # ascontiguousarray would make a list of a single number.
    return np.ascontiguousarray(array) if array.ndim else array[()]


def _dump(document: Mapping[str, Any]) -> bytes:
    return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)


def _read_safetensors(body: bytes) -> tuple[dict[str, Array], dict[str, Any]]:
    try:
        return wire.decode_safetensors(body)
    except wire.WireError as error:
        raise MalformedBody(error.problem, field=_input_path(error.field)) from error


def _read_json(body: bytes) -> tuple[dict[str, Array], frozenset[str], dict[str, Any]]:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise MalformedBody(f"not JSON: {error}") from error
    if not isinstance(document, dict):
        raise MalformedBody("the body must be a JSON object with the key inputs")
    values = document.pop("inputs", {})
    if not isinstance(values, dict):
        raise MalformedBody("must be an object of arrays by name", field="inputs")
    inputs = {name: _read_json_array(name, value) for name, value in values.items()}
    untyped = frozenset(name for name, value in values.items() if not isinstance(value, dict))
    return inputs, untyped, document


def _read_json_array(name: str, value: object) -> Array:
    field = _input_path(name)
    if isinstance(value, dict):
        return _read_base64_array(name, value)
    try:
        array = np.asarray(value)
    except (ValueError, OverflowError) as error:
        raise WrongShape("rows of different length", field=field) from error
    if array.dtype.kind not in _NUMBERS and array.size:
        raise MalformedBody("every element must be a number", field=field)
    return array


def _read_base64_array(name: str, value: dict[str, Any]) -> Array:
    match value:
        case {"dtype": str(dtype), "shape": [*shape], "data": str(data)}:
            pass
        case _:
            raise MalformedBody("needs dtype, shape and base64 data", field=_input_path(name))
    try:
        return wire.from_bytes(name, dtype, shape, base64.b64decode(data, validate=True))
    except (binascii.Error, ValueError) as error:
        problem = error.problem if isinstance(error, wire.WireError) else f"not base64: {error}"
        raise MalformedBody(problem, field=_input_path(name)) from error


def _validate(rest: Mapping[str, Any]) -> SolveBody:
    if not rest:
        return _NOTHING_MORE
    try:
        return SolveBody.model_validate(rest)
    except ValidationError as error:
        raise _as_invalid_request(error) from error


def _as_invalid_request(error: ValidationError) -> InvalidRequest:
    first = error.errors(include_url=False, include_context=False)[0]
    field = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return InvalidOption("unknown key", field=field)
    return InvalidOption(first["msg"], field=field)


def _input_path(name: str) -> str:
    return f"inputs.{name}" if name else ""

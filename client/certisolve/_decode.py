"""JSON values to frozen dataclasses, by their annotations; errors name the path."""

import dataclasses
import functools
import math
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, TypeVar, Union

T = TypeVar("T")


class DecodeError(ValueError):
    """A JSON value does not have the declared form.

    Attributes:
        path: where, in dots: `inputs.0.dtype`; empty for the whole document.
    """

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path or 'document'}: {problem}")
        self.path = path


def decode(annotation: type[T], value: object, *, strict: bool, path: str = "") -> T:
    """`value` as an instance of `annotation`.

    Understands dataclasses, `tuple[X, ...]`, `dict[str, X]`, `Literal`, unions with None, and the
    JSON scalars; an int is taken where a float is declared.

    Args:
        annotation: the declared type.
        value: what a JSON parser returned.
        strict: whether a key that no dataclass field declares is an error. False lets an older
            client read a newer server.
        path: where `value` stands in the document.

    Raises:
        DecodeError: `value` does not fit `annotation`.
    """
    result: T = _decode(annotation, value, strict, path)
    return result


def _decode(annotation: Any, value: object, strict: bool, path: str) -> Any:
    if dataclasses.is_dataclass(annotation):
        return _decode_dataclass(annotation, value, strict, path)
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is tuple:
        items = _expect(value, list, path)
        return tuple(_decode(arguments[0], v, strict, f"{path}.{i}") for i, v in enumerate(items))
    if origin is dict:
        entries = _expect(value, dict, path).items()
        return {k: _decode(arguments[1], v, strict, f"{path}.{k}") for k, v in entries}
    if origin is Literal:
        return _decode_literal(arguments, value, path)
    if origin in (Union, types.UnionType):
        return None if value is None else _decode(arguments[0], value, strict, path)
    return _decode_scalar(annotation, value, path)


def _decode_dataclass(annotation: Any, value: object, strict: bool, path: str) -> Any:
    entries: Mapping[str, object] = _expect(value, dict, path)
    fields = {field.name: field for field in dataclasses.fields(annotation)}
    unknown = sorted(entries.keys() - fields.keys())
    if strict and unknown:
        raise DecodeError(_join(path, unknown[0]), f"unknown key; expected {sorted(fields)}")
    missing = [name for name, field in fields.items() if _required(field) and name not in entries]
    if missing:
        raise DecodeError(_join(path, missing[0]), "missing")
    hints = _type_hints(annotation)
    known = {k: v for k, v in entries.items() if k in fields}
    return annotation(**{k: _decode(hints[k], v, strict, _join(path, k)) for k, v in known.items()})


def _decode_literal(choices: tuple[object, ...], value: object, path: str) -> object:
    if value not in choices:
        raise DecodeError(path, f"expected one of {list(choices)}, got {value!r}")
    return value


def _decode_scalar(annotation: Any, value: object, path: str) -> object:
    if annotation is float and isinstance(value, int | float) and not isinstance(value, bool):
        return _decode_float(value, path)
    if isinstance(value, bool) and annotation is not bool:
        raise DecodeError(path, f"expected {annotation.__name__}, got a boolean")
    if isinstance(value, str) and not value.isascii():
        _check_unicode(value, path)
    return _expect(value, annotation, path)


def _check_unicode(text: str, path: str) -> None:
    # JSON can spell half a surrogate pair, which no reply could carry.
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DecodeError(path, "not valid Unicode") from error


def _decode_float(value: float, path: str) -> float:
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise DecodeError(path, "expected a finite number")
    return number


def _expect(value: object, kind: type[Any], path: str) -> Any:
    if not isinstance(value, kind):
        raise DecodeError(path, f"expected {kind.__name__}, got {type(value).__name__}")
    return value


def _required(field: dataclasses.Field[Any]) -> bool:
    no_default = field.default is dataclasses.MISSING
    return no_default and field.default_factory is dataclasses.MISSING


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


@functools.cache
def _type_hints(annotation: Any) -> dict[str, Any]:
    return typing.get_type_hints(annotation)

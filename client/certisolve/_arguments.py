"""What callers pass, checked before it travels; every error names the argument."""

import math
import operator
import re
from collections.abc import Mapping
from typing import Literal, TypeVar, get_args

#: Which of one tenant's jobs go first; between tenants it changes nothing.
Priority = Literal["high", "normal", "low"]

T = TypeVar("T")

#: What every protocol can carry; far beyond what any server takes.
_MAX_COUNT = 1 << 63
# No space at either end: HTTP would drop it.
_KEY = re.compile(r"[!-~]([ -~]{0,253}[!-~])?")


def check_keywords(passed: Mapping[str, object], known: type) -> None:
    """Refuse what a function does not take that takes its keywords as a TypedDict.

    Raises:
        TypeError: naming the keyword.
    """
    for name in passed.keys() - known.__annotations__.keys():
        raise TypeError(f"unexpected keyword argument {name!r}")


def check_finite(field_name: str, value: float) -> float:
    """`value`, if it is finite.

    Raises:
        TypeError: it is nothing like a number.
        ValueError: it is not finite, or text.
    """
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{field_name}: must be a number, got {value!r:.60}") from None
    if not math.isfinite(number):
        raise ValueError(f"{field_name}: must be finite, got {number}")
    return number


def check_count(field_name: str, value: int, *, least: int) -> int:
    """`value`, if it is a whole number of at least `least`.

    Raises:
        TypeError: not a whole number.
        ValueError: less, or more than can travel.
    """
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{field_name}: must be a whole number, got {value!r}") from None
    if not least <= number < _MAX_COUNT:
        raise ValueError(f"{field_name}: must be {least} or more, got {number}")
    return number


def check_priority(value: Priority) -> Priority:
    """`value`, if it is one.

    Raises:
        ValueError: it is not.
    """
    if value not in get_args(Priority):
        raise ValueError(f"priority: must be one of {list(get_args(Priority))}, got {value!r}")
    return value


def check_key(value: str | None) -> str | None:
    """`value`, if it can travel as an idempotency key.

    Raises:
        ValueError: it cannot.
    """
    if value is not None and not _KEY.fullmatch(value):
        raise ValueError(
            "idempotency_key: must be 1 to 255 printable ASCII characters without a space at "
            f"either end, got {value!r}"
        )
    return value


def check_name(field_name: str, value: str) -> str:
    """`value`, if there is one.

    Raises:
        TypeError: it is no text.
        ValueError: it is empty.
    """
    if not isinstance(value, str):
        raise TypeError(f"{field_name}: must be text, got {value!r:.60}")
    if not value:
        raise ValueError(f"{field_name}: must not be empty")
    return value


def check_mapping(field_name: str, value: Mapping[str, T] | None) -> Mapping[str, T]:
    """`value`, or nothing.

    Raises:
        TypeError: it does not go by names.
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise TypeError(f"{field_name}: must go by names, {{name: value}}, got {value!r:.60}")
    return value

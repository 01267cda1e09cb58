"""Computations that pause for others, done without pauses."""

from collections.abc import Generator
from typing import Any, TypeVar

T = TypeVar("T")


def finished(work: Generator[Any, None, T]) -> T:
    """What a computation returns; what it yields on the way is passed over."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            result: T = end.value
            return result

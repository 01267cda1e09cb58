"""Computations that pause for others: done without pauses, or once for all who take turns at it."""

from collections.abc import Generator
from typing import Any, Generic, TypeVar

T = TypeVar("T")


def finished(work: Generator[Any, None, T]) -> T:
    """What a computation returns; what it yields on the way is passed over."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            result: T = end.value
            return result


class Shared(Generic[T]):
    """A computation that whoever has a turn carries on, and whose result is everybody's.

    Args:
        work: what is done once.
    """

    def __init__(self, work: Generator[None, None, T]) -> None:
        self._work = work
        self._results: list[T] = []
        self._refusal: Exception | None = None

    def result(self) -> Generator[None, None, T]:
        """What it returns; its exception, to each who asks."""
        while not self._results:
            if self._refusal is not None:
                raise self._refusal
            try:
                next(self._work)
            except StopIteration as end:
                self._results.append(end.value)
            except Exception as refusal:
                self._refusal = refusal
                raise
            else:
                yield
        return self._results[0]

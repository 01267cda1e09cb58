"""How long to look for a better bound, and when one is good enough."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from .errors import InvalidRequest

#: Seconds from any fixed point in time; the certifier knows no clock of its own.
Clock: TypeAlias = Callable[[], float]


@dataclass(frozen=True)
class Budget:
    """When the search ends, at the latest.

    Args:
        seconds: of wall time; cheap methods run in any case, so 0 asks for what costs nothing.
        gap: upper / lower at which the answer is good enough, at least 1.
        max_cuts: of the set into boxes, not negative; None for any number.

    Raises:
        InvalidRequest: a number is out of its range.
    """

    seconds: float = 10.0
    gap: float = 1.001
    max_cuts: int | None = None

    def __post_init__(self) -> None:
        # False of NaN.
        if not 0.0 <= self.seconds < float("inf"):
            raise InvalidRequest(f"a budget is finite and not negative, not {self.seconds} seconds")
        if not self.gap >= 1.0:
            raise InvalidRequest(f"a gap is at least 1, not {self.gap}")
        if self.max_cuts is not None and self.max_cuts < 0:
            raise InvalidRequest(f"a number of cuts is not negative, not {self.max_cuts}")

"""max(x, y)."""

from dataclasses import dataclass

from certisolve_server.certifier.arithmetic import Interval

from .function import BinaryFunction


@dataclass(frozen=True)
class Maximum(BinaryFunction):
    """The larger of two numbers; where they are equal, slopes (s, 1 - s) with s from 0 to 1."""

    def value(self, x: Interval, y: Interval) -> Interval:
        return x.maximum(y)

    def derivatives(self, x: Interval, y: Interval) -> tuple[Interval, Interval]:
        return steps(x, y)


def steps(x: Interval, y: Interval) -> tuple[Interval, Interval]:
    """Slopes of max(x, y): 1 of what is larger for sure, 0 of what is smaller for sure."""
    x_wins, y_wins = x.lower > y.upper, y.lower > x.upper
    to_x = Interval(x_wins.double(), (~y_wins).double())
    to_y = Interval(y_wins.double(), (~x_wins).double())
    return to_x, to_y

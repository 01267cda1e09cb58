"""|x|."""

from dataclasses import dataclass

from certisolve_server.certifier.arithmetic import Interval

from .function import Function
from .straight import straight_but_at


@dataclass(frozen=True)
class Absolute(Function):
    """The absolute value; its slopes at 0 are all from -1 to 1."""

    def value(self, x: Interval) -> Interval:
        return abs(x)

    def derivative(self, x: Interval) -> Interval:
        return Interval(2.0 * (x.lower > 0).double() - 1.0, 1.0 - 2.0 * (x.upper < 0).double())

    def second_derivative(self, x: Interval) -> Interval:
        return straight_but_at(x, 0.0)

"""max(x, 0) + a min(x, 0)."""

from dataclasses import dataclass

from certisolve_server.certifier.arithmetic import Interval, as_interval, where

from .function import Function
from .straight import straight_but_at


@dataclass(frozen=True)
class LeakyRelu(Function):
    """The rectifier with a slope for negative numbers, of any size and sign.

    Args:
        negative_slope: a.
    """

    negative_slope: float = 0.01

    def value(self, x: Interval) -> Interval:
        # Monotone on both sides of 0, where it is 0.
        negative = x.minimum(0.0) * self.negative_slope
        positive = x.maximum(0.0)
        crossing = negative.hull(positive)
        return where(x.lower >= 0, positive, where(x.upper <= 0, negative, crossing))

    def derivative(self, x: Interval) -> Interval:
        negative, positive = as_interval(self.negative_slope), as_interval(1.0)
        kink = negative.hull(positive)
        return where(x.lower > 0, positive, where(x.upper < 0, negative, kink))

    def second_derivative(self, x: Interval) -> Interval:
        return straight_but_at(x, 0.0)

"""min(max(x, a), b), as of clamp, hardtanh and relu6."""

import math
from dataclasses import dataclass

from certisolve_server.certifier.arithmetic import Interval

from .function import Function
from .straight import straight_but_at


@dataclass(frozen=True)
class Clamp(Function):
    """Cut off at both sides; an infinite side is none.

    Args:
        minimum: a, not above b.
        maximum: b.
    """

    minimum: float = -math.inf
    maximum: float = math.inf

    def __post_init__(self) -> None:
        if not self.minimum <= self.maximum:
            raise ValueError(f"nothing lies between {self.minimum} and {self.maximum}")

    def value(self, x: Interval) -> Interval:
        return Interval(
            x.lower.clamp(self.minimum, self.maximum), x.upper.clamp(self.minimum, self.maximum)
        )

    def derivative(self, x: Interval) -> Interval:
        passes = (x.lower > self.minimum) & (x.upper < self.maximum)
        is_cut = (x.upper < self.minimum) | (x.lower > self.maximum)
        return Interval(passes.double(), (~is_cut).double())

    def second_derivative(self, x: Interval) -> Interval:
        return straight_but_at(x, self.minimum, self.maximum)

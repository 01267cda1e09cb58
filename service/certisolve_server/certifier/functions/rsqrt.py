"""1 / sqrt(x)."""

from dataclasses import dataclass

from torch import Tensor

from certisolve_server.certifier.arithmetic import Interval

from . import library
from .function import Function


@dataclass(frozen=True)
class Rsqrt(Function):
    """The reciprocal square root of positive numbers."""

    def value(self, x: Interval) -> Interval:
        return 1.0 / library.sqrt(x)

    def derivative(self, x: Interval) -> Interval:
        """-(1 / sqrt x)^3 / 2; x occurs once, so intervals lose nothing here."""
        return self.value(x) ** 3 * -0.5

    def second_derivative(self, x: Interval) -> Interval:
        """3 (1 / sqrt x)^5 / 4."""
        return self.value(x) ** 5 * 0.75

    def defined(self, x: Interval) -> Tensor:
        return x.lower > 0

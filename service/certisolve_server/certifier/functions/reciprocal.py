"""1 / x."""

from dataclasses import dataclass

from torch import Tensor

from certisolve_server.certifier.arithmetic import Interval

from .function import Function


@dataclass(frozen=True)
class Reciprocal(Function):
    """1 / x away from 0."""

    def value(self, x: Interval) -> Interval:
        return 1.0 / x

    def derivative(self, x: Interval) -> Interval:
        """-(1 / x)^2."""
        return -(1.0 / x).square()

    def second_derivative(self, x: Interval) -> Interval:
        """2 (1 / x)^3."""
        return 2.0 * (1.0 / x) ** 3

    def defined(self, x: Interval) -> Tensor:
        return (x.lower > 0) | (x.upper < 0)

"""The natural logarithm."""

from dataclasses import dataclass

from torch import Tensor

from certisolve_server.certifier.arithmetic import Interval

from . import library
from .function import Function


@dataclass(frozen=True)
class Log(Function):
    """log x for x > 0."""

    def value(self, x: Interval) -> Interval:
        return library.log(x)

    def derivative(self, x: Interval) -> Interval:
        """1 / x, which falls."""
        return 1.0 / library.above(0.0, x)

    def second_derivative(self, x: Interval) -> Interval:
        """-(1 / x)^2."""
        return -self.derivative(x).square()

    def defined(self, x: Interval) -> Tensor:
        return x.lower > 0

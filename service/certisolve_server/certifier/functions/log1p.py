"""log(1 + x)."""

from dataclasses import dataclass

from torch import Tensor

from certisolve_server.certifier.arithmetic import Interval

from . import library
from .function import Function


@dataclass(frozen=True)
class Log1p(Function):
    """log(1 + x) for x > -1."""

    def value(self, x: Interval) -> Interval:
        return library.log1p(x)

    def derivative(self, x: Interval) -> Interval:
        """1 / (1 + x), which falls."""
        return 1.0 / (1.0 + library.above(-1.0, x))

    def second_derivative(self, x: Interval) -> Interval:
        """-(1 / (1 + x))^2."""
        return -self.derivative(x).square()

    def defined(self, x: Interval) -> Tensor:
        return x.lower > -1

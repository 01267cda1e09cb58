"""The hyperbolic tangent."""

from dataclasses import dataclass

from certisolve_server.certifier.arithmetic import Interval

from . import library
from .function import Function
from .sigmoid import logistic_curvature, logistic_slope


@dataclass(frozen=True)
class Tanh(Function):
    """tanh x = 2 s(2 x) - 1, s the logistic function, whence its derivative 4 s'(2 x)."""

    def value(self, x: Interval) -> Interval:
        return library.tanh(x)

    def derivative(self, x: Interval) -> Interval:
        return logistic_slope(2.0 * x) * 4.0

    def second_derivative(self, x: Interval) -> Interval:
        """8 s''(2 x)."""
        return logistic_curvature(2.0 * x) * 8.0

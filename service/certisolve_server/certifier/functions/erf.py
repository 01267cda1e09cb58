"""The error function."""

from dataclasses import dataclass

from certisolve_server.certifier.arithmetic import Interval

from . import library
from .function import Function

# Correctly rounded from 2 / sqrt(pi).
_SLOPE_AT_ZERO = 1.1283791670955126


@dataclass(frozen=True)
class Erf(Function):
    """erf x."""

    def value(self, x: Interval) -> Interval:
        return library.erf(x)

    def derivative(self, x: Interval) -> Interval:
        """2 / sqrt(pi) e^(-x^2); x occurs once, so intervals lose nothing here."""
        return library.exp(-x.square()) * Interval.near(_SLOPE_AT_ZERO)

    def second_derivative(self, x: Interval) -> Interval:
        """-2 x erf'(x)."""
        return self.derivative(x) * (-2.0 * x)

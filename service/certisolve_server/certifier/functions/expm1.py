"""e^x - 1."""

from dataclasses import dataclass

from certisolve_server.certifier.arithmetic import Interval

from . import library
from .function import Function


@dataclass(frozen=True)
class Expm1(Function):
    """The exponential function less 1."""

    def value(self, x: Interval) -> Interval:
        return library.expm1(x)

    def derivative(self, x: Interval) -> Interval:
        return library.exp(x)

    def second_derivative(self, x: Interval) -> Interval:
        return library.exp(x)

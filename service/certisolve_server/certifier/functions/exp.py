"""e^x."""

from dataclasses import dataclass

from certisolve_server.certifier.arithmetic import Interval

from . import library
from .function import Function


@dataclass(frozen=True)
class Exp(Function):
    """The exponential function."""

    def value(self, x: Interval) -> Interval:
        return library.exp(x)

    def derivative(self, x: Interval) -> Interval:
        return library.exp(x)

    def second_derivative(self, x: Interval) -> Interval:
        return library.exp(x)

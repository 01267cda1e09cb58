"""x^2."""

from dataclasses import dataclass

from certisolve_server.certifier.arithmetic import Interval

from .function import Function


@dataclass(frozen=True)
class Square(Function):
    """The square."""

    def value(self, x: Interval) -> Interval:
        return x.square()

    def derivative(self, x: Interval) -> Interval:
        return 2.0 * x

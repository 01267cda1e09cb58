"""x^n for an integer n."""

from dataclasses import dataclass

from torch import Tensor

from certisolve_server.certifier.arithmetic import Interval, as_interval

from .function import Function


@dataclass(frozen=True)
class Power(Function):
    """An integer power; a negative one is defined away from 0.

    Args:
        exponent: n.
    """

    exponent: int

    def __post_init__(self) -> None:
        if not isinstance(self.exponent, int):
            raise TypeError(f"powers are integer here, not {self.exponent}")

    def value(self, x: Interval) -> Interval:
        return x**self.exponent

    def derivative(self, x: Interval) -> Interval:
        """N x^(n - 1)."""
        if self.exponent == 0:
            return x * 0.0
        return as_interval(self.exponent) * x ** (self.exponent - 1)

    def second_derivative(self, x: Interval) -> Interval:
        """N (n - 1) x^(n - 2)."""
        if self.exponent in (0, 1):
            return x * 0.0
        return as_interval(self.exponent * (self.exponent - 1)) * x ** (self.exponent - 2)

    def defined(self, x: Interval) -> Tensor:
        if self.exponent >= 0:
            return super().defined(x)
        return (x.lower > 0) | (x.upper < 0)

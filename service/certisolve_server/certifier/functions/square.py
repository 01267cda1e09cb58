"""x^2."""

from dataclasses import dataclass

import torch

from certisolve_server.certifier.arithmetic import Interval

from .function import Function


@dataclass(frozen=True)
class Square(Function):
    """The square."""

    def value(self, x: Interval) -> Interval:
        return x.square()

    def derivative(self, x: Interval) -> Interval:
        return 2.0 * x

    def second_derivative(self, x: Interval) -> Interval:
        return Interval.exact(2.0 * torch.ones_like(x.lower))

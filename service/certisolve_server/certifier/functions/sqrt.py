"""The square root."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from certisolve_server.certifier.arithmetic import Interval
from certisolve_server.certifier.arithmetic.rounding import down, up

from . import library
from .function import Function


@dataclass(frozen=True)
class Sqrt(Function):
    """sqrt x for x >= 0, infinitely steep at 0."""

    def value(self, x: Interval) -> Interval:
        return library.sqrt(x)

    def derivative(self, x: Interval) -> Interval:
        """1 / (2 sqrt x), which falls; of an interval that starts at 0 there is no largest."""
        root = library.sqrt(x)
        # Not 0.5 / root: torch would round the reciprocal and the product.
        half = torch.tensor(0.5, dtype=torch.float64)
        steepest = torch.where(root.lower > 0, up(half / root.lower), math.inf)
        flattest = torch.where(root.upper > 0, down(half / root.upper), 0.0)
        return Interval(flattest.clamp(min=0.0), steepest)

    def second_derivative(self, x: Interval) -> Interval:
        """-2 (1 / (2 sqrt x))^3."""
        return self.derivative(x) ** 3 * -2.0

    def defined(self, x: Interval) -> Tensor:
        return x.lower >= 0

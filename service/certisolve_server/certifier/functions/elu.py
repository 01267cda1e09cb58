"""c x for x > 0, and c a (e^(d x) - 1) else."""

import math
from dataclasses import dataclass

import torch

from certisolve_server.certifier.arithmetic import Interval, as_interval, where

from . import library
from .function import Function


@dataclass(frozen=True)
class Elu(Function):
    """The exponential rectifier, with the parameters by which ATen makes celu and selu of it.

    Args:
        alpha: a, not negative; else it would not be monotone.
        scale: c, positive.
        input_scale: d, positive.
    """

    alpha: float = 1.0
    scale: float = 1.0
    input_scale: float = 1.0

    def __post_init__(self) -> None:
        usual = 0 <= self.alpha < math.inf
        if not (usual and 0 < self.scale < math.inf and 0 < self.input_scale < math.inf):
            raise ValueError(f"alpha is not negative and the scales are positive, not {self}")

    def value(self, x: Interval) -> Interval:
        """Each branch is 0 at 0 and monotone, so their sum on both sides of 0 is the function."""
        decay = library.expm1(x.minimum(0.0) * self.input_scale)
        negative = decay.minimum(0.0) * self.alpha * self.scale
        positive = x.maximum(0.0) * self.scale
        lower = where(x.lower < 0, negative, positive)
        upper = where(x.upper < 0, negative, positive)
        return Interval(lower.lower, upper.upper)

    def derivative(self, x: Interval) -> Interval:
        """C for x > 0, c a d e^(d x) for x < 0, and all between c and c a d at 0."""
        decay = library.exp(x.minimum(0.0) * self.input_scale)
        negative = decay * self.alpha * self.scale * self.input_scale
        positive = as_interval(self.scale)
        kink = negative.hull(positive)
        return where(x.lower > 0, positive, where(x.upper < 0, negative, kink))

    def second_derivative(self, x: Interval) -> Interval:
        """0 for x > 0 and c a d^2 e^(d x) for x < 0; at 0 the slope jumps unless a d is 1."""
        decay = library.exp(x.minimum(0.0) * self.input_scale)
        negative = decay * self.alpha * self.scale * self.input_scale * self.input_scale
        positive = Interval.exact(torch.zeros_like(x.lower))
        is_smooth = self.alpha == 1.0 and self.input_scale == 1.0
        kink = negative.hull(positive) if is_smooth else Interval.entire(x.shape)
        return where(x.lower > 0, positive, where(x.upper < 0, negative, kink))

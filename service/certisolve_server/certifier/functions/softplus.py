"""log(1 + e^(b x)) / b."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from certisolve_server.certifier.arithmetic import Interval

from . import library
from .logistic import NEAR, logistic
from .pieces import Extremum, monotone
from .sampled import Sample, Sampled, Turn
from .sigmoid import logistic_slope

# Relative: b x is off by 2^-53 |b x|, and a function that falls no faster than e^-x by as much.
_ERROR = NEAR * 2.0**-52


@dataclass(frozen=True)
class Softplus(Sampled):
    """The smooth rectifier, as it is defined, of all numbers.

    torch returns x itself where b x is above a threshold, 20 unless told otherwise: a step down of
    log(1 + e^-20) / b = 2.1e-9 / b, which is an error of the computation and no part of this.

    Args:
        beta: b, positive.
    """

    beta: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.beta < math.inf:
            raise ValueError(f"beta is positive, not {self.beta}")

    def value(self, x: Interval) -> Interval:
        return monotone(self._at, x, (0.0, math.inf))

    def derivative(self, x: Interval) -> Interval:
        """s(b x), s the logistic function."""
        return library.sigmoid(x * self.beta)

    def second_derivative(self, x: Interval) -> Interval:
        """The slope s'(b x) of the logistic function, times b."""
        return logistic_slope(x * self.beta) * self.beta

    @property
    def near(self) -> float:
        return NEAR / self.beta / 2.0

    def samples(self, x: Tensor) -> list[Sample]:
        scaled = x * self.beta
        share, rest = logistic(scaled)
        value = (scaled.clamp(min=0.0) + torch.log1p(torch.exp(-scaled.abs()))) / self.beta
        bell = self.beta * share * rest
        return [
            Sample(value, _ERROR * value),
            Sample(share, _ERROR * share),
            Sample(bell, 2.0 * _ERROR * bell),
        ]

    def turns(self) -> list[list[Turn]]:
        return [[], [], [Turn(Extremum(0.0, 0.0), self.second_derivative, True)]]

    def _at(self, x: Interval) -> Interval:
        """(max(b x, 0) + log(1 + e^-|b x|)) / b, which does not overflow."""
        scaled = x * self.beta
        return (scaled.maximum(0.0) + library.log1p(library.exp(-abs(scaled)))) / self.beta

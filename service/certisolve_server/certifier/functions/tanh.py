"""The hyperbolic tangent."""

from dataclasses import dataclass

import torch
from torch import Tensor

from certisolve_server.certifier.arithmetic import Interval

from . import library
from .logistic import ERROR, NEAR, logistic
from .pieces import Extremum
from .sampled import Sample, Sampled, Turn
from .sigmoid import logistic_curvature, logistic_slope

# Where the second derivative turns: tanh(x)^2 = 1/3.
_MOST_CURVED = (
    Extremum(-0.6584789484624084, -0.6584789484624083),
    Extremum(0.6584789484624083, 0.6584789484624084),
)

#: The values of torch are off by at most 8 ulps, see `arithmetic.rounding`.
_VALUE_ERROR = 2.0**-48


@dataclass(frozen=True)
class Tanh(Sampled):
    """tanh x = 2 s(2 x) - 1, s the logistic function, whence its derivative 4 s'(2 x)."""

    @property
    def near(self) -> float:
        return NEAR / 2.0

    def value(self, x: Interval) -> Interval:
        return library.tanh(x)

    def derivative(self, x: Interval) -> Interval:
        return _slope(x)

    def second_derivative(self, x: Interval) -> Interval:
        """8 s''(2 x)."""
        return _curvature(x)

    def samples(self, x: Tensor) -> list[Sample]:
        value = torch.tanh(x)
        share, rest = logistic(2.0 * x)
        slope = 4.0 * share * rest
        return [
            Sample(value, _VALUE_ERROR * value.abs()),
            Sample(slope, ERROR * slope),
            Sample(2.0 * slope * (rest - share), 4.0 * ERROR * slope),
        ]

    def turns(self) -> list[list[Turn]]:
        curved = [Turn(place, _curvature, place.lower < 0) for place in _MOST_CURVED]
        return [[], [Turn(Extremum(0.0, 0.0), _slope, True)], curved]


def _slope(x: Interval) -> Interval:
    return logistic_slope(2.0 * x) * 4.0


def _curvature(x: Interval) -> Interval:
    return logistic_curvature(2.0 * x) * 8.0

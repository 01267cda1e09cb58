"""x Phi(x), Phi the distribution function of the normal distribution: `gelu` as it is defined."""

import math
from dataclasses import dataclass

import torch

from certisolve_server.certifier.arithmetic import Interval

from . import library
from .function import Function
from .pieces import Extremum, Tail, on_pieces

# Where Phi(x) + x phi(x) = 0.
_MINIMUM = Extremum(-0.7517915246935645, -0.7517915246935644)

# Where the second derivative phi(x) (2 - x^2) is 0: the square root of 2, and its negative.
_STEEPEST = Extremum(1.414213562373095, 1.4142135623730951)
_MOST_NEGATIVE_SLOPE = Extremum(-1.4142135623730951, -1.414213562373095)

# Correctly rounded from the square root of 2 and from 1 / sqrt(2 pi).
_ROOT_OF_TWO = 1.4142135623730951
_NORMAL_DENSITY_AT_ZERO = 0.3989422804014327

# Phi(-38) is below the least normal number.
_FAR = 38.0
_LARGEST = torch.finfo(torch.float64).max


@dataclass(frozen=True)
class GeluErf(Function):
    """x Phi(x): falls from 0 to its one minimum, then grows without end."""

    def value(self, x: Interval) -> Interval:
        left, right = Tail(-_FAR, 0.0), Tail(_LARGEST, math.inf)
        return on_pieces(_value, x, (_MINIMUM,), left, right)

    def derivative(self, x: Interval) -> Interval:
        """Phi(x) + x phi(x): between -0.1289041452 and 1.1289041452."""
        return on_pieces(
            _slope,
            x,
            (_MOST_NEGATIVE_SLOPE, _STEEPEST),
            Tail(-_FAR, 0.0),
            Tail(_FAR, 1.0),
        )


def _value(x: Interval) -> Interval:
    return x * _distribution(x)


def _slope(x: Interval) -> Interval:
    return _distribution(x) + x * _density(x)


def _distribution(x: Interval) -> Interval:
    """Phi(x) = erfc(-x / sqrt 2) / 2."""
    return library.erfc(-x / Interval.near(_ROOT_OF_TWO)) * 0.5


def _density(x: Interval) -> Interval:
    """phi(x) = e^(-x^2 / 2) / sqrt(2 pi)."""
    return library.exp(x.square() * -0.5) * Interval.near(_NORMAL_DENSITY_AT_ZERO)

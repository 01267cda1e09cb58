"""x Phi(x), Phi the distribution function of the normal distribution: `gelu` as it is defined."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from certisolve_server.certifier.arithmetic import Interval

from . import library
from .gated import SampledGate
from .pieces import Extremum
from .sampled import Sample

# Correctly rounded from the square root of 2 and from 1 / sqrt(2 pi).
_ROOT_OF_TWO = 1.4142135623730951
_NORMAL_DENSITY_AT_ZERO = 0.3989422804014327

# Of Phi and of phi, absolute: the library's functions are off by at most 8 ulps (see
# `arithmetic.rounding`) of at most 2, and the argument by a few roundings, which change Phi by less
# than 2^-53 times |x| phi(x), below 1/4, and phi by 2^-53 x^2 phi(x), below 1/3, for each.
_ERROR = 2.0**-47


@dataclass(frozen=True)
class GeluErf(SampledGate):
    """x Phi(x); slopes are between -0.1289041452 and 1.1289041452."""

    # Where Phi(x) + x phi(x) = 0.
    minimum: ClassVar = Extremum(-0.7517915246935645, -0.7517915246935644)
    # Where the second derivative phi(x) (2 - x^2) is 0: the square root of 2, and its negative.
    steepest: ClassVar = Extremum(1.414213562373095, 1.4142135623730951)
    # Where the third derivative phi(x) x (x^2 - 4) is 0.
    curved: ClassVar = (Extremum(-2.0, -2.0), Extremum(0.0, 0.0), Extremum(2.0, 2.0))
    # Phi(-38) is below the least normal number.
    far: ClassVar = 38.0

    @staticmethod
    def near_value(x: Interval) -> Interval:
        return x * _distribution(x)

    @staticmethod
    def near_slope(x: Interval) -> Interval:
        """Phi(x) + x phi(x)."""
        return _distribution(x) + x * _density(x)

    @staticmethod
    def near_curvature(x: Interval) -> Interval:
        """phi(x) (2 - x^2)."""
        return _density(x) * (2.0 - x.square())

    def samples(self, x: Tensor) -> list[Sample]:
        share = 0.5 * torch.erfc(-x / _ROOT_OF_TWO)
        density = torch.exp(-0.5 * x * x) * _NORMAL_DENSITY_AT_ZERO
        size = x.abs()
        return [
            Sample(x * share, _ERROR * size),
            Sample(share + x * density, 2.0 * _ERROR * (1.0 + size)),
            Sample(density * (2.0 - x * x), 2.0 * _ERROR * (2.0 + x * x)),
        ]


def _distribution(x: Interval) -> Interval:
    """Phi(x) = erfc(-x / sqrt 2) / 2."""
    return library.erfc(-x / Interval.near(_ROOT_OF_TWO)) * 0.5


def _density(x: Interval) -> Interval:
    """phi(x) = e^(-x^2 / 2) / sqrt(2 pi)."""
    return library.exp(x.square() * -0.5) * Interval.near(_NORMAL_DENSITY_AT_ZERO)

"""x Phi(x), Phi the distribution function of the normal distribution: `gelu` as it is defined."""

from dataclasses import dataclass
from typing import ClassVar

from certisolve_server.certifier.arithmetic import Interval

from . import library
from .gated import Gated
from .pieces import Extremum, Tail, on_pieces

# Correctly rounded from the square root of 2 and from 1 / sqrt(2 pi).
_ROOT_OF_TWO = 1.4142135623730951
_NORMAL_DENSITY_AT_ZERO = 0.3989422804014327

# Where the third derivative phi(x) x (x^2 - 4) is 0.
_CURVED = (Extremum(-2.0, -2.0), Extremum(0.0, 0.0), Extremum(2.0, 2.0))


@dataclass(frozen=True)
class GeluErf(Gated):
    """x Phi(x); slopes are between -0.1289041452 and 1.1289041452."""

    # Where Phi(x) + x phi(x) = 0.
    minimum: ClassVar = Extremum(-0.7517915246935645, -0.7517915246935644)
    # Where the second derivative phi(x) (2 - x^2) is 0: the square root of 2, and its negative.
    steepest: ClassVar = Extremum(1.414213562373095, 1.4142135623730951)
    # Phi(-38) is below the least normal number.
    far: ClassVar = 38.0

    @staticmethod
    def near_value(x: Interval) -> Interval:
        return x * _distribution(x)

    @staticmethod
    def near_slope(x: Interval) -> Interval:
        """Phi(x) + x phi(x)."""
        return _distribution(x) + x * _density(x)

    def second_derivative(self, x: Interval) -> Interval:
        return on_pieces(_curvature, x, _CURVED, Tail(-self.far, 0.0), Tail(self.far, 0.0))


def _curvature(x: Interval) -> Interval:
    return _density(x) * (2.0 - x.square())


def _distribution(x: Interval) -> Interval:
    """Phi(x) = erfc(-x / sqrt 2) / 2."""
    return library.erfc(-x / Interval.near(_ROOT_OF_TWO)) * 0.5


def _density(x: Interval) -> Interval:
    """phi(x) = e^(-x^2 / 2) / sqrt(2 pi)."""
    return library.exp(x.square() * -0.5) * Interval.near(_NORMAL_DENSITY_AT_ZERO)

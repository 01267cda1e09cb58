"""x (1 + tanh(k (x + a x^3))) / 2, k = sqrt(2 / pi), a = 0.044715: the approximation of `gelu`.

It is another function than `gelu`, with other slopes. By 1 + tanh z = 2 s(2 z), s the logistic
function, it is x s(2 z), which keeps its accuracy where it is small.
"""

from dataclasses import dataclass
from typing import ClassVar

from certisolve_server.certifier.arithmetic import Interval, where

from . import library
from .gated import Gated
from .pieces import Extremum

# Both hold the decimal or the square root of its definition, and the float that torch multiplies
# with; what follows holds for all pairs of numbers in them.
_K = Interval.near(0.7978845608028654)
_A = Interval.near(0.044715)

# Beyond 20 the logistic factors are below e^-580, and so is the second derivative below 2^-700.
_NEARLY_STRAIGHT = Interval.between(-(2.0**-700), 2.0**-700)


@dataclass(frozen=True)
class GeluTanh(Gated):
    """x s(2 z); slopes are between -0.1289930687 and 1.1289930687."""

    # Where the derivative is 0, for all those k and a.
    minimum: ClassVar = Extremum(-0.7524614220711, -0.7524614220709)
    # Where the second derivative is 0. On x > 0 it has the sign of
    # (1 + 6 a x^2) / (k (1 + 3 a x^2)^2) - x tanh z, of which the first falls and the second
    # grows, so it has one zero there; the derivative less 1/2 is odd, so it has the opposite one
    # too and no more. So the derivative falls from 0, rises through its one zero, and falls to 1.
    steepest: ClassVar = Extremum(1.4185040087907, 1.4185040087909)
    far: ClassVar = 20.0

    @staticmethod
    def near_value(x: Interval) -> Interval:
        return x * library.sigmoid(2.0 * _inner(x))

    @staticmethod
    def near_slope(x: Interval) -> Interval:
        """s(2 z) (1 + 2 x z' s(-2 z))."""
        doubled = 2.0 * _inner(x)
        share = library.sigmoid(doubled)
        return share * (1.0 + 2.0 * x * _inner_slope(x) * library.sigmoid(-doubled))

    def second_derivative(self, x: Interval) -> Interval:
        """s(2 z) s(-2 z) (4 z' + 2 x z'' + 4 x z'^2 (s(-2 z) - s(2 z))), z'' = 6 k a x."""
        inside = Interval(x.lower.clamp(-self.far, self.far), x.upper.clamp(-self.far, self.far))
        share, slope = library.sigmoid(2.0 * _inner(inside)), _inner_slope(inside)
        rest = library.sigmoid(-2.0 * _inner(inside))
        bent = 12.0 * _K * _A * inside.square() + 4.0 * inside * slope.square() * (rest - share)
        curvature = share * rest * (4.0 * slope + bent)
        leaves = (x.lower < -self.far) | (x.upper > self.far)
        return where(leaves, curvature.hull(_NEARLY_STRAIGHT), curvature)


def _inner(x: Interval) -> Interval:
    """The argument z = k x (1 + a x^2)."""
    return _K * x * (1.0 + _A * x.square())


def _inner_slope(x: Interval) -> Interval:
    return _K * (1.0 + 3.0 * _A * x.square())

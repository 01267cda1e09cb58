"""x (1 + tanh(k (x + a x^3))) / 2, k = sqrt(2 / pi), a = 0.044715: the approximation of `gelu`.

It is another function than `gelu`, with other slopes. By 1 + tanh z = 2 s(2 z), s the logistic
function, it is x s(2 z), which keeps its accuracy where it is small.
"""

import math
from dataclasses import dataclass

import torch

from certisolve_server.certifier.arithmetic import Interval

from . import library
from .function import Function
from .pieces import Extremum, Tail, on_pieces

# Both hold the decimal or the square root of its definition, and the float that torch multiplies
# with; what follows holds for all pairs of numbers in them.
_K = Interval.near(0.7978845608028654)
_A = Interval.near(0.044715)

# Where the derivative is 0, for all those k and a.
_MINIMUM = Extremum(-0.7524614220711, -0.7524614220709)

# Where the second derivative is 0. On x > 0 it has the sign of
# (1 + 6 a x^2) / (k (1 + 3 a x^2)^2) - x tanh z, of which the first falls and the second grows, so
# it has one zero there; the derivative less 1/2 is odd, so it has the opposite one too and no more.
# So the derivative falls from 0, rises through its one zero, and falls to 1.
_STEEPEST = Extremum(1.4185040087907, 1.4185040087909)
_MOST_NEGATIVE_SLOPE = Extremum(-1.4185040087909, -1.4185040087907)

_FAR = 20.0
_LARGEST = torch.finfo(torch.float64).max


@dataclass(frozen=True)
class GeluTanh(Function):
    """x s(2 z): falls from 0 to its one minimum, then grows without end."""

    def value(self, x: Interval) -> Interval:
        left, right = Tail(-_FAR, 0.0), Tail(_LARGEST, math.inf)
        return on_pieces(_value, x, (_MINIMUM,), left, right)

    def derivative(self, x: Interval) -> Interval:
        """s(2 z) (1 + 2 x z' s(-2 z)): between -0.1289930687 and 1.1289930687."""
        return on_pieces(
            _slope,
            x,
            (_MOST_NEGATIVE_SLOPE, _STEEPEST),
            Tail(-_FAR, 0.0),
            Tail(_FAR, 1.0),
        )


def _value(x: Interval) -> Interval:
    return x * library.sigmoid(2.0 * _inner(x))


def _inner(x: Interval) -> Interval:
    """The argument z = k x (1 + a x^2)."""
    return _K * x * (1.0 + _A * x.square())


def _slope(x: Interval) -> Interval:
    doubled = 2.0 * _inner(x)
    inner_slope = _K * (1.0 + 3.0 * _A * x.square())
    share = library.sigmoid(doubled)
    return share * (1.0 + 2.0 * x * inner_slope * library.sigmoid(-doubled))

"""x s(x), s the logistic function; also known as swish."""

import math
from dataclasses import dataclass

import torch

from certisolve_server.certifier.arithmetic import Interval

from . import library
from .function import Function
from .pieces import Extremum, Tail, on_pieces

# Where 1 + x s(-x) = 0.
_MINIMUM = Extremum(-1.278464542761074, -1.2784645427610737)

# Where the second derivative s'(x) (2 - x tanh(x / 2)) is 0; x tanh(x / 2) is even and grows
# with |x|, so there are just two such places.
_STEEPEST = Extremum(2.3993572805154675, 2.399357280515468)
_MOST_NEGATIVE_SLOPE = Extremum(-2.399357280515468, -2.3993572805154675)

_FAR = 700.0
_LARGEST = torch.finfo(torch.float64).max


@dataclass(frozen=True)
class Silu(Function):
    """x s(x): falls from 0 to its one minimum, then grows without end."""

    def value(self, x: Interval) -> Interval:
        left, right = Tail(-_FAR, 0.0), Tail(_LARGEST, math.inf)
        return on_pieces(_value, x, (_MINIMUM,), left, right)

    def derivative(self, x: Interval) -> Interval:
        """s(x) (1 + x s(-x)): between -0.0998393201 and 1.0998393201."""
        return on_pieces(
            _slope,
            x,
            (_MOST_NEGATIVE_SLOPE, _STEEPEST),
            Tail(-_FAR, 0.0),
            Tail(_FAR, 1.0),
        )


def _value(x: Interval) -> Interval:
    return x * library.sigmoid(x)


def _slope(x: Interval) -> Interval:
    return library.sigmoid(x) * (1.0 + x * library.sigmoid(-x))

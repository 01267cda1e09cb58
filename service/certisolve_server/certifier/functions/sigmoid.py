"""1 / (1 + e^-x)."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from certisolve_server.certifier.arithmetic import Interval

from . import library
from .logistic import ERROR, NEAR, logistic
from .pieces import Extremum, Tail, on_pieces
from .sampled import Sample, Sampled, Turn

_MOST_CURVED = (
    Extremum(-1.3169578969248168, -1.3169578969248166),
    Extremum(1.3169578969248166, 1.3169578969248168),
)


@dataclass(frozen=True)
class Sigmoid(Sampled):
    """The logistic function."""

    @property
    def near(self) -> float:
        return NEAR

    def value(self, x: Interval) -> Interval:
        return library.sigmoid(x)

    def derivative(self, x: Interval) -> Interval:
        return logistic_slope(x)

    def second_derivative(self, x: Interval) -> Interval:
        return logistic_curvature(x)

    def samples(self, x: Tensor) -> list[Sample]:
        share, rest = logistic(x)
        slope = share * rest
        return [
            Sample(share, ERROR * share),
            Sample(slope, ERROR * slope),
            Sample(slope * (rest - share), 2.0 * ERROR * slope),
        ]

    def turns(self) -> Sequence[Sequence[Turn]]:
        return [[], *TURNS]


def logistic_slope(x: Interval) -> Interval:
    """s(x) s(-x), s the logistic function: rises until 0 and falls after it, both from and to 0."""
    return on_pieces(_slope, x, (Extremum(0.0, 0.0),), Tail(-700.0, 0.0), Tail(700.0, 0.0))


def logistic_curvature(x: Interval) -> Interval:
    """s(x) s(-x) (s(-x) - s(x)): turns where tanh(x / 2)^2 = 1/3, and tends to 0."""
    return on_pieces(_curvature, x, _MOST_CURVED, Tail(-700.0, 0.0), Tail(700.0, 0.0))


def _slope(x: Interval) -> Interval:
    return library.sigmoid(x) * library.sigmoid(-x)


def _curvature(x: Interval) -> Interval:
    share, rest = library.sigmoid(x), library.sigmoid(-x)
    return share * rest * (rest - share)


#: Of the slope and of the second derivative.
TURNS = (
    (Turn(Extremum(0.0, 0.0), _slope, True),),
    tuple(Turn(place, _curvature, place.lower < 0) for place in _MOST_CURVED),
)

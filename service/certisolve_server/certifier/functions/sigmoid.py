"""1 / (1 + e^-x)."""

from dataclasses import dataclass

from certisolve_server.certifier.arithmetic import Interval

from . import library
from .function import Function
from .pieces import Extremum, Tail, on_pieces

_MOST_CURVED = (
    Extremum(-1.3169578969248168, -1.3169578969248166),
    Extremum(1.3169578969248166, 1.3169578969248168),
)


@dataclass(frozen=True)
class Sigmoid(Function):
    """The logistic function."""

    def value(self, x: Interval) -> Interval:
        return library.sigmoid(x)

    def derivative(self, x: Interval) -> Interval:
        return logistic_slope(x)

    def second_derivative(self, x: Interval) -> Interval:
        return logistic_curvature(x)


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

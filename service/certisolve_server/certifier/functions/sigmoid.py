"""1 / (1 + e^-x)."""

from dataclasses import dataclass

from certisolve_server.certifier.arithmetic import Interval

from . import library
from .function import Function
from .pieces import Extremum, Tail, on_pieces


@dataclass(frozen=True)
class Sigmoid(Function):
    """The logistic function."""

    def value(self, x: Interval) -> Interval:
        return library.sigmoid(x)

    def derivative(self, x: Interval) -> Interval:
        return logistic_slope(x)


def logistic_slope(x: Interval) -> Interval:
    """s(x) s(-x), s the logistic function: rises until 0 and falls after it, both from and to 0."""
    return on_pieces(_slope, x, (Extremum(0.0, 0.0),), Tail(-700.0, 0.0), Tail(700.0, 0.0))


def _slope(x: Interval) -> Interval:
    return library.sigmoid(x) * library.sigmoid(-x)

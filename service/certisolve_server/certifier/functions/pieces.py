"""Ranges of functions that are monotone between known extrema."""

from collections.abc import Callable
from typing import NamedTuple

import torch

from certisolve_server.certifier.arithmetic import Interval, where
from certisolve_server.certifier.arithmetic.rounding import Numbers

_LARGEST = torch.finfo(torch.float64).max


class Extremum(NamedTuple):
    """A place, known to lie between two floats, where a function may turn."""

    lower: float
    upper: float


class Tail(NamedTuple):
    """How a function ends: monotone from the place `beyond` outward, where it tends to `limit`.

    Ends of intervals further out are not evaluated: the function there lies between its value at
    `beyond` and `limit`.
    """

    beyond: float
    limit: float


def on_pieces(
    enclosure: Callable[[Interval], Interval],
    x: Interval,
    extrema: tuple[Extremum, ...],
    left: Tail,
    right: Tail,
) -> Interval:
    """The range over x of a function f that is monotone between neighbours of its extrema.

    The least and the largest value on [l, u] then are among f(l), f(u) and those at the extrema in
    between. An extremum that may lie in x is counted, which never hurts.

    Args:
        enclosure: holds f(t) for each t in a narrow interval: tight there, not necessarily on x.
        x: any interval.
        extrema: in the open interval between both tails.
        left: beyond it on the left, f is monotone.
        right: beyond it on the right, f is monotone.
    """
    result = _at_end(enclosure, x.lower, left, right)
    if not x.is_exact:
        result = result.hull(_at_end(enclosure, x.upper, left, right))
    for place in extrema:
        at_place = result.hull(enclosure(Interval.between(place.lower, place.upper)))
        result = where((x.lower <= place.upper) & (x.upper >= place.lower), at_place, result)
    return result


def monotone(
    enclosure: Callable[[Interval], Interval], x: Interval, limits: tuple[float, float]
) -> Interval:
    """The range over x of a monotone function with these limits at -inf and inf."""
    left, right = Tail(-_LARGEST, limits[0]), Tail(_LARGEST, limits[1])
    return on_pieces(enclosure, x, (), left, right)


def _at_end(
    enclosure: Callable[[Interval], Interval], end: Numbers, left: Tail, right: Tail
) -> Interval:
    """Holds f at the end of an interval, and all between it and `beyond` where it is in a tail."""
    value = enclosure(Interval.exact(end.clamp(left.beyond, right.beyond)))
    lower, upper = value.lower, value.upper
    for tail, inside in ((left, end < left.beyond), (right, end > right.beyond)):
        lower = torch.where(inside, lower.clamp(max=tail.limit), lower)
        upper = torch.where(inside, upper.clamp(min=tail.limit), upper)
    return Interval(lower, upper)

"""Ranges of functions that are monotone between known extrema."""

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import torch

from certisolve_server.certifier.arithmetic import Interval, where

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
            A function of a module, so that its values at extrema are computed once.
        x: any interval.
        extrema: in the open interval between both tails.
        left: beyond it on the left, f is monotone.
        right: beyond it on the right, f is monotone.
    """
    result = _at_ends(enclosure, x, left, right)
    for place in extrema:
        at_place = result.hull(Interval.between(*value_at(enclosure, place)))
        result = where((x.lower <= place.upper) & (x.upper >= place.lower), at_place, result)
    return result


def monotone(
    enclosure: Callable[[Interval], Interval], x: Interval, limits: tuple[float, float]
) -> Interval:
    """The range over x of a monotone function with these limits at -inf and inf."""
    left, right = Tail(-_LARGEST, limits[0]), Tail(_LARGEST, limits[1])
    return on_pieces(enclosure, x, (), left, right)


def _at_ends(
    enclosure: Callable[[Interval], Interval], x: Interval, left: Tail, right: Tail
) -> Interval:
    """Holds f at both ends of x, and all between there and `beyond` where an end is in a tail."""
    ends = x.lower[None] if x.is_exact else torch.stack([x.lower, x.upper])
    values = enclosure(Interval.exact(ends.clamp(left.beyond, right.beyond)))
    lower, upper = values.lower.amin(0), values.upper.amax(0)
    for tail, inside in ((left, x.lower < left.beyond), (right, x.upper > right.beyond)):
        lower = torch.where(inside, lower.clamp(max=tail.limit), lower)
        upper = torch.where(inside, upper.clamp(min=tail.limit), upper)
    return Interval(lower, upper)


@cache
def value_at(enclosure: Callable[[Interval], Interval], place: Extremum) -> tuple[float, float]:
    """Bounds of f on all of the place; always the same, and costly beside one small tensor."""
    value = enclosure(Interval.between(place.lower, place.upper))
    return value.lower.item(), value.upper.item()

"""Ranges of sine and cosine."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from certisolve_server.certifier.arithmetic import Interval
from certisolve_server.certifier.arithmetic.rounding import Numbers, library_down, library_up


def wave(compute: Callable[[Numbers], Numbers], x: Interval, top: float) -> Interval:
    """The range over x of a sine or cosine with maxima at `top` turns, and minima half a turn on.

    It is monotone between those, so its extremes are at the ends of x or there. Of large numbers
    the turns are known to less than one only roughly, and then everything from -1 to 1 is allowed.

    Args:
        compute: `torch.sin` or `torch.cos`.
        x: any interval, in radians.
        top: exact in float64.
    """
    turns = x / _turn() - top
    ends = compute(x.lower), compute(x.upper)
    least = library_down(torch.minimum(*ends)).clamp(-1.0, 1.0)
    most = library_up(torch.maximum(*ends)).clamp(-1.0, 1.0)
    return Interval(
        torch.where(_may_hold_integer(turns - 0.5), -1.0, least),
        torch.where(_may_hold_integer(turns), 1.0, most),
    )


def _turn() -> Interval:
    """2 pi: the float nearest to pi, times 2, is the one nearest to 2 pi."""
    return Interval.near(2.0 * math.pi)


def _may_hold_integer(turns: Interval) -> Tensor:
    return turns.upper.floor() >= turns.lower.ceil()

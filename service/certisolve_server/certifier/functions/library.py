"""Monotone functions of torch's math library on intervals, with the library's errors carried.

Each is evaluated at both ends, widened as `arithmetic.library_up` says, and cut to the range that
the function is known to have; so each result is as narrow as the library allows.
"""

import math
from collections.abc import Callable

import torch

from certisolve_server.certifier.arithmetic import Interval, OutsideDomain
from certisolve_server.certifier.arithmetic.rounding import Numbers, library_down, library_up


def exp(x: Interval) -> Interval:
    """e^x."""
    return _increasing(torch.exp, x, 0.0, math.inf)


def expm1(x: Interval) -> Interval:
    """e^x - 1, accurate near 0."""
    return _increasing(torch.expm1, x, -1.0, math.inf)


def log(x: Interval) -> Interval:
    """The natural logarithm of positive numbers."""
    return _increasing(torch.log, above(0.0, x), -math.inf, math.inf)


def log1p(x: Interval) -> Interval:
    """log(1 + x) of numbers above -1, accurate near 0."""
    return _increasing(torch.log1p, above(-1.0, x), -math.inf, math.inf)


def sqrt(x: Interval) -> Interval:
    """The square root of numbers that are not negative."""
    if not bool((x.lower >= 0).all()):
        raise OutsideDomain(f"{int((x.lower < 0).sum())} numbers under a root may be negative")
    return _increasing(torch.sqrt, x, 0.0, math.inf)


def tanh(x: Interval) -> Interval:
    """The hyperbolic tangent."""
    return _increasing(torch.tanh, x, -1.0, 1.0)


def erf(x: Interval) -> Interval:
    """The error function."""
    return _increasing(torch.erf, x, -1.0, 1.0)


def erfc(x: Interval) -> Interval:
    """1 - erf(x), accurate where it is small."""
    return -_increasing(lambda end: -torch.erfc(end), x, -2.0, 0.0)


def sigmoid(x: Interval) -> Interval:
    """1 / (1 + e^-x); x occurs once, so intervals lose nothing here."""
    share = 1.0 / (1.0 + exp(-x))
    return Interval(share.lower, share.upper.clamp(max=1.0))


def above(least: float, x: Interval) -> Interval:
    """X itself, of which all members are above `least`, or OutsideDomain."""
    is_above = x.lower > least
    if not bool(is_above.all()):
        raise OutsideDomain(f"{int((~is_above).sum())} numbers may not be above {least}")
    return x


def _increasing(
    compute: Callable[[Numbers], Numbers], x: Interval, least: float, most: float
) -> Interval:
    return Interval(
        library_down(compute(x.lower)).clamp(least, most),
        library_up(compute(x.upper)).clamp(least, most),
    )

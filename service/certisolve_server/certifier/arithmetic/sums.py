"""Sums of intervals over axes, end by end."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from .bilinear import enlarged, gamma
from .interval import Interval
from .rounding import Numbers, product_up, sum_up


def total(x: Interval, dim: int | tuple[int, ...], keepdim: bool = False) -> Interval:
    """The sum over axes, each end with gamma_n times the sum of its absolute values.

    Sums of floats do not underflow (Higham, problem 2.19), so there is no absolute term.
    """
    terms = math.prod(x.shape[axis] for axis in _axes(dim))
    return _of_sums(lambda ends: ends.sum(dim, keepdim=keepdim), terms, x)


def mean(x: Interval, dim: int | tuple[int, ...], keepdim: bool = False) -> Interval:
    """The mean over axes that are not empty."""
    terms = math.prod(x.shape[axis] for axis in _axes(dim))
    return total(x, dim, keepdim) / float(terms)


def cumulative(x: Interval, dim: int) -> Interval:
    """The sums of all elements up to each one along an axis."""
    return _of_sums(lambda ends: ends.cumsum(dim), x.shape[dim] if x.ndim else 1, x)


def sum_of_sizes(x: Numbers, dim: int | tuple[int, ...]) -> Numbers:
    """At least the sum of numbers that are not negative or inf, over axes."""
    return enlarged(x.sum(dim), math.prod(x.shape[axis] for axis in _axes(dim)))


def _of_sums(summed: Callable[[Tensor], Tensor], terms: int, x: Interval) -> Interval:
    """Sums of at most n ends each, rounded outward, for sums in any order (Higham, section 4.2)."""
    relative = torch.tensor(gamma(terms), dtype=torch.float64)

    def most(ends: Numbers) -> Numbers:
        sizes = enlarged(summed(ends.abs()), terms)
        computed = summed(ends)
        bound = sum_up(computed, product_up(relative, sizes))
        # What overflowed on the way, to either side or to NaN, bounds nothing.
        return torch.where(computed.isfinite() & sizes.isfinite(), bound, math.inf)

    return Interval(-most(-x.lower), most(x.upper))


def _axes(dim: int | tuple[int, ...]) -> tuple[int, ...]:
    axes = (dim,) if isinstance(dim, int) else tuple(dim)
    if not axes:
        # torch takes no axes for all of them, and then there are more terms than counted here.
        raise ValueError("name the axes to sum over")
    return axes

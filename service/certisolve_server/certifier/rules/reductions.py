"""Sums, means and products over axes."""

import math
from collections.abc import Sequence
from functools import reduce

from certisolve_server.certifier.arithmetic import Interval, total

from . import shapes
from .abstraction import Abstraction, mapped_linearly
from .arithmetic import multiply
from .rule import Declined, Rules


def sum_over(
    self: Abstraction, dim: Sequence[int] | None, keepdim: bool, dtype: str | None
) -> Abstraction:
    """The sum over axes, all of them where none is named; a wider type changes no real number."""
    del dtype
    axes = from_the_end(dim, len(self.shape))
    if not axes:
        return self
    return mapped_linearly(self, lambda part: total(part, axes, keepdim))


def sum_of_all(self: Abstraction, dtype: str | None) -> Abstraction:
    """The sum of all entries."""
    return sum_over(self, None, False, dtype)


def mean_over(
    self: Abstraction, dim: Sequence[int] | None, keepdim: bool, dtype: str | None
) -> Abstraction:
    """The mean over axes: the sum by their number."""
    axes = from_the_end(dim, len(self.shape))
    count = math.prod(self.shape[axis] for axis in axes)
    summed = sum_over(self, dim, keepdim, dtype)

    def divided(part: Interval) -> Interval:
        return part / float(count)

    return mapped_linearly(summed, divided)


def mean_of_all(self: Abstraction, dtype: str | None) -> Abstraction:
    """The mean of all entries."""
    return mean_over(self, None, False, dtype)


def product_over(self: Abstraction, dim: int, keepdim: bool, dtype: str | None) -> Abstraction:
    """The product along an axis, factor by factor."""
    del dtype
    if not from_the_end([dim], len(self.shape)):
        return self
    if self.shape[dim] == 0:
        raise Declined("multiplies nothing")
    product: Abstraction = reduce(multiply, shapes.RULES["aten.unbind.int"](self=self, dim=dim))
    if not keepdim:
        return product
    kept: Abstraction = shapes.RULES["aten.unsqueeze.default"](self=product, dim=dim)
    return kept


def from_the_end(dim: Sequence[int] | None, rank: int) -> tuple[int, ...]:
    """Axes counted from the last, whatever stands before the first; of one number none."""
    # ATen reads an empty list as all axes.
    named = dim if dim and rank else range(rank)
    return tuple(axis % rank - rank for axis in named)


#: By overload.
RULES: Rules = {
    "aten.mean.default": mean_of_all,
    "aten.mean.dim": mean_over,
    "aten.prod.dim_int": product_over,
    "aten.sum.default": sum_of_all,
    "aten.sum.dim_IntList": sum_over,
}

"""Sums, means and products over axes."""

import math
from collections.abc import Sequence
from functools import reduce
from types import MappingProxyType

import torch

from certisolve_server.certifier.arithmetic import Interval, total, where
from certisolve_server.certifier.functions import find

from . import shapes
from .abstraction import Abstraction, mapped_linearly, per_entry
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


def vector_norm(
    self: Abstraction, ord: float, dim: Sequence[int] | None, keepdim: bool, dtype: str | None
) -> Abstraction:
    """sqrt(sum x^2), whose gradient is x / |x|, and at 0 all of length 1 at most."""
    del dtype
    axes = from_the_end(dim, len(self.shape))
    if ord != 2 or not axes:
        raise Declined("is no norm of order 2 over axes")
    x = self.value
    norm = find("sqrt").value(total(x.square(), axes, keepdim=True).maximum(0.0))
    is_away = norm.lower > 0
    one = Interval.exact(torch.ones((), dtype=torch.float64))
    ball = one.hull(-one)
    share = where(is_away, x, one * 0.0) / where(is_away, norm, one)
    gradient = where(is_away, share.intersection(ball), ball)
    value = norm if keepdim else norm.rearranged(lambda ends: ends.squeeze(axes))
    blocks = {
        name: total(block * per_entry(gradient), axes, keepdim)
        for name, block in self.jacobian.items()
    }
    return Abstraction(value, MappingProxyType(blocks))


def from_the_end(dim: Sequence[int] | None, rank: int) -> tuple[int, ...]:
    """Axes counted from the last, whatever stands before the first; of one number none."""
    # ATen reads an empty list as all axes.
    named = dim if dim and rank else range(rank)
    return tuple(axis % rank - rank for axis in named)


#: By overload.
RULES: Rules = {
    "aten.linalg_vector_norm.default": vector_norm,
    "aten.mean.default": mean_of_all,
    "aten.mean.dim": mean_over,
    "aten.prod.dim_int": product_over,
    "aten.sum.default": sum_of_all,
    "aten.sum.dim_IntList": sum_over,
}

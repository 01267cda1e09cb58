"""Sums, differences, products and quotients, entry by entry and over axes."""

import math
from collections.abc import Sequence
from functools import reduce

import numpy as np
import torch
from torch import Tensor

from certisolve_server.certifier.arithmetic import Interval
from certisolve_server.certifier.arithmetic.bilinear import enlarged
from certisolve_server.certifier.arithmetic.rounding import product_up, sqrt_up, sum_up
from certisolve_server.certifier.errors import NotCertified
from certisolve_server.certifier.rules import Declined

from .deviation import Deviation, Known, euclidean, largest, number, rounded
from .precision import Precision
from .rule import Operand, Rules

# Roundings of a norm of numbers that are divided by the largest and multiplied back.
_OF_SCALES = 8


def add(precision: Precision, self: Operand, other: Operand, alpha: float) -> Deviation:
    """X + alpha y, fused or not: one rounding of x and at most three of alpha y."""
    x, y = broadcast(precision, self, other)
    scale = number(abs(alpha))
    changed = x.deviation.plus(y.deviation.scaled(scale))
    shift = product_up(y.size, number(precision.of_number(alpha)))
    sizes = sum_up(x.size, product_up(y.size, scale))
    roundings = 1 if abs(alpha) == 1 else 3
    return changed.plus(_of(precision, sizes, roundings)).plus(Deviation.within(shift))


def subtract(precision: Precision, self: Operand, other: Operand, alpha: float) -> Deviation:
    """X - alpha y."""
    return add(precision, self, other, alpha)


def subtract_from(precision: Precision, self: Operand, other: Operand, alpha: float) -> Deviation:
    """Y - alpha x (aten.rsub)."""
    return add(precision, other, self, alpha)


def multiply(precision: Precision, self: Operand, other: Operand) -> Deviation:
    """X y: x'y' - x y = x' (y' - y) + y (x' - x)."""
    x, y = broadcast(precision, self, other)
    changed = weighted(x.deviation, y.size).plus(weighted(y.deviation, x.size))
    # What is flushed to 0 before it is multiplied.
    lost = product_up(sum_up(x.size, y.size), number(precision.absolute))
    local = _of(precision, product_up(x.size, y.size), 1)
    return changed.plus(local).plus(Deviation.within(lost))


def divide(precision: Precision, self: Operand, other: Operand) -> Deviation:
    """X / y, possibly as x (1 / y): x'/y' - x/y = (x' - x)/y' - x/y (y' - y)/y'.

    Raises:
        NotCertified: the divisor may be 0 when it is computed.
    """
    x, y = broadcast(precision, self, other)
    least = y.hull.mignitude
    if not bool((least > precision.smallest).all()):
        raise NotCertified("a divisor may round to 0")
    inverse = (Interval.exact(torch.ones_like(least)) / Interval.exact(least)).upper
    quotient = product_up(x.size, inverse)
    changed = weighted(x.deviation, inverse).plus(
        weighted(y.deviation, product_up(quotient, inverse))
    )
    # Of 1 / y what underflows is lost before it is multiplied with x.
    lost = product_up(sum_up(x.size, number(1.0)), number(precision.absolute))
    return changed.plus(_of(precision, quotient, 3)).plus(Deviation.within(lost))


def negate(_precision: Precision, self: Known) -> Deviation:
    """-x, exactly."""
    return self.deviation


def compare(precision: Precision, self: Operand, other: Operand) -> Deviation:
    """The larger or the smaller of two: no rounding, and no larger difference than theirs."""
    x, y = broadcast(precision, self, other)
    both = euclidean(torch.stack([x.deviation.length, y.deviation.length]))
    return Deviation.within(torch.maximum(x.deviation.entries, y.deviation.entries), both)


def sum_over(
    precision: Precision,
    self: Known,
    dim: Sequence[int] | None = None,
    keepdim: bool = False,
    dtype: object = None,
) -> Deviation:
    """The sum over axes, in any order."""
    del dtype
    axes = tuple(dim) if dim else tuple(range(len(self.shape)))
    if not axes:
        return self.deviation
    terms = math.prod(self.shape[axis] for axis in axes)
    # (sum of n)^2 <= n (sum of squares).
    length = product_up(self.deviation.length, sqrt_up(number(float(terms))))
    changed = Deviation.within(_summed(self.deviation.entries, axes, keepdim, terms), length)
    sizes = _summed(self.size, axes, keepdim, terms)
    return changed.plus(_of(precision, sizes, terms, terms))


def mean_over(
    precision: Precision,
    self: Known,
    dim: Sequence[int] | None = None,
    keepdim: bool = False,
    dtype: object = None,
) -> Deviation:
    """The sum by the number of terms."""
    axes = tuple(dim) if dim else tuple(range(len(self.shape)))
    terms = math.prod(self.shape[axis] for axis in axes)
    summed = sum_over(precision, self, dim, keepdim, dtype)
    sizes = _summed(self.size, axes, keepdim, terms) if axes else self.size
    share = number(math.nextafter(1.0 / terms, math.inf))
    return summed.scaled(share).plus(_of(precision, product_up(sizes, share), 3))


def product_over(
    precision: Precision, self: Known, dim: int, keepdim: bool, dtype: object = None
) -> Deviation:
    """The product along an axis, in any order: what underflows is multiplied by all others."""
    del dtype
    terms = self.shape[dim]
    if terms == 0:
        raise Declined("multiplies nothing")
    above_one = self.size.clamp(min=1.0).unbind(dim)
    largest_part = reduce(product_up, above_one)
    precision.require_range(largest_part)
    lost = product_up(largest_part, number(2.0 * terms * precision.absolute))
    sides = zip(
        self.hull.lower.unbind(dim),
        self.hull.upper.unbind(dim),
        self.deviation.entries.unbind(dim),
        strict=True,
    )
    parts = [
        Known(Interval(low, high), Deviation.within(off, self.deviation.length), self.varies)
        for low, high, off in sides
    ]

    def times(x: Known, y: Known) -> Known:
        deviation = multiply(precision, x, y)
        size = sum_up(product_up(x.size, y.size), deviation.entries)
        return Known(Interval(-size, size), deviation, x.varies or y.varies)

    result = reduce(times, parts).deviation.plus(Deviation.within(lost))
    entries = result.entries.unsqueeze(dim) if keepdim else result.entries
    return Deviation(entries, result.length)


def vector_norm(
    precision: Precision,
    self: Known,
    ord: float,
    dim: Sequence[int] | None,
    keepdim: bool,
    dtype: object = None,
) -> Deviation:
    """sqrt(sum x^2) in any order, scaled or not, of what changes by |x' - x| at most.

    With s = sum x^2 the computed sum is (1 + g) s + e, of which the root is within g sqrt(s) +
    sqrt(|e|) of sqrt(s): e is what of squares and sums is flushed.
    """
    del dtype
    axes = tuple(dim) if dim else tuple(range(len(self.shape)))
    if ord != 2 or not axes:
        raise Declined("is no norm of order 2 over axes")
    terms = math.prod(self.shape[axis] for axis in axes)

    def lengths(sizes: Tensor) -> Tensor:
        squares = _summed(product_up(sizes, sizes), axes, keepdim, terms)
        precision.require_range(squares)
        return sqrt_up(squares)

    changed = Deviation.within(lengths(self.deviation.entries), self.deviation.length)
    relative = precision.gamma(terms + _OF_SCALES) + 2.0 * precision.of_library("sqrt")
    lost = math.sqrt(terms * precision.absolute) * (1.0 + 1e-6) + precision.absolute
    return changed.plus(rounded(lengths(self.size), relative, lost))


#: By overload.
RULES: Rules = {
    "aten.linalg_vector_norm.default": vector_norm,
    "aten.add.Tensor": add,
    "aten.add.Scalar": add,
    "aten.sub.Tensor": subtract,
    "aten.sub.Scalar": subtract,
    "aten.rsub.Scalar": subtract_from,
    "aten.rsub.Tensor": subtract_from,
    "aten.mul.Tensor": multiply,
    "aten.mul.Scalar": multiply,
    "aten.div.Tensor": divide,
    "aten.div.Scalar": divide,
    "aten.neg.default": negate,
    "aten.maximum.default": compare,
    "aten.minimum.default": compare,
    "aten.sum.default": sum_over,
    "aten.sum.dim_IntList": sum_over,
    "aten.mean.default": mean_over,
    "aten.mean.dim": mean_over,
    "aten.prod.dim_int": product_over,
}


def as_known(precision: Precision, operand: Operand) -> Known:
    """A tensor, or a number that is rounded where the floats do not hold it."""
    if isinstance(operand, Known):
        return operand
    off = Deviation.within(number(precision.of_number(float(operand))))
    hull = Interval.exact(number(float(operand)))
    return Known(hull + Interval(-off.entries, off.entries), off, False)


def broadcast(precision: Precision, one: Operand, other: Operand) -> tuple[Known, Known]:
    """Both operands in the shape that they have together."""
    x, y = as_known(precision, one), as_known(precision, other)
    shape = tuple(np.broadcast_shapes(x.shape, y.shape))
    return x.broadcast(shape), y.broadcast(shape)


def _of(precision: Precision, sizes: Tensor, roundings: int, operations: int = 1) -> Deviation:
    precision.require_range(sizes)
    return rounded(sizes, precision.gamma(roundings), operations * precision.absolute)


def weighted(deviation: Deviation, sizes: Tensor) -> Deviation:
    """Entry by entry times numbers of at most these sizes."""
    return Deviation.within(
        product_up(deviation.entries, sizes), product_up(deviation.length, largest(sizes))
    )


def _summed(sizes: Tensor, axes: tuple[int, ...], keepdim: bool, terms: int) -> Tensor:
    return enlarged(sizes.sum(axes, keepdim=keepdim), terms)

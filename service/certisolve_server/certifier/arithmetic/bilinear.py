"""Sums of products of exact tensors and intervals, by centre and radius.

Matrix products, contractions and convolutions are all bilinear maps B of which each result is a sum
of at most n products of an element of A and an element of X. BLAS computes them in an order and
with a blocking of its own, with or without fused multiply-add. For every such order

    |fl(B(A, X)) - B(A, X)| <= gamma_n B(|A|, |X|) + rho,    gamma_n = n u / (1 - n u), u = 2^-53

(Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., section 3.1 and (3.13), where the
order is free; rho pays for underflow, see `_underflow`). It does not hold of Strassen
or Winograd multiplication, which no BLAS uses for float64 unasked; convolutions are not left to
torch, which might, but are laid out as matrix products.

With A in [a - p, a + p] and X in [c - r, c + r], all signs taken at their worst, each member has

    |B(A, X) - fl(B(a, c))| <= B(|a|, r) + B(p, |c| + r) + gamma_n B(|a|, |c|) + rho
                            <= B(|a|, r + gamma_n |c|) + B(p, |c| + r) + rho

(Rump, Fast and parallel interval arithmetic, BIT 39, 1999). The terms on the right are sums of
products that are not negative; of such a sum T the computed S has T <= (S + rho) / (1 - gamma_n).
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from .interval import Interval
from .rounding import Numbers, product_up, sum_down, sum_up, up

#: Unit roundoff of float64 rounded to nearest.
UNIT_ROUNDOFF = 2.0**-53

_SMALLEST_NORMAL = 2.0**-1022

# If no product is smaller, neither it nor any partial sum can fall below the normal numbers:
# a product of 53-bit numbers is a multiple of 2^-106 times its size, and so is any rounded sum.
_NO_UNDERFLOW = 2.0**-900

Product = Callable[[Tensor, Tensor], Tensor]


def gamma(terms: int) -> float:
    """At least gamma_n = n u / (1 - n u), the relative error of n roundings (Higham, lemma 3.1).

    Raises:
        ValueError: for so many terms, 2^50 or more, that the bound is of no use.
    """
    if not 0 <= terms < 1 << 50:
        raise ValueError(f"no error bound for sums of {terms} terms")
    share = terms * UNIT_ROUNDOFF
    return math.nextafter(share / math.nextafter(1.0 - share, 0.0), math.inf) if terms else 0.0


def bilinear(product: Product, terms: int, a: Interval, x: Interval) -> Interval:
    """The enclosure of the module's docstring; everything where float64 overflows.

    Args:
        product: computes B, element by element a sum of at most `terms` products without factors
            or signs of its own, in any order.
        terms: n.
        a: [a - p, a + p].
        x: [c - r, c + r].
    """
    (left, left_radius), (right, right_radius) = a.midpoint_radius(), x.midpoint_radius()
    relative = torch.tensor(gamma(terms), dtype=torch.float64)
    center = product(left, right)
    spread = sum_up(right_radius, product_up(relative, right.abs()))
    radius = _nonnegative(product, terms, left.abs(), spread)
    if not a.is_exact:
        around = _nonnegative(product, terms, left_radius, x.magnitude)
        radius = sum_up(radius, around)
    radius = sum_up(radius, radius.new_tensor(_underflow(terms, left, right)))
    return _ball(center, radius)


def _nonnegative(product: Product, terms: int, a: Numbers, x: Numbers) -> Numbers:
    """At least B(a, x) for a, x >= 0; x may be inf, which times 0 is 0."""
    finite = x.isfinite()
    computed = product(a, torch.where(finite, x, 0.0))
    smallest = computed.new_tensor(_underflow(terms, a, x))
    bound = enlarged(sum_up(computed, smallest), terms)
    if bool(finite.all()):
        return bound
    # How many products have a factor inf: a sum of ones, which is exact.
    reached = product((a != 0).to(a.dtype), (~finite).to(a.dtype)) > 0
    return torch.where(reached, math.inf, bound)


def enlarged(computed: Numbers, terms: int) -> Numbers:
    """At least S / (1 - gamma_n) for S >= 0: 1 / (1 - gamma_n) = 1 + n u / (1 - 2 n u)."""
    factor = up(torch.tensor(1.0 + gamma(2 * terms), dtype=torch.float64))
    return product_up(computed, factor)


def _underflow(terms: int, a: Numbers, x: Numbers) -> float:
    """rho: 0 if no product of nonzero elements can underflow, else 4 n 2^-1022 max(1, |a|, |x|).

    Even a BLAS may be used that takes subnormal numbers for 0. Then each of n products is off by
    at most 2^-1022 max(|a|, |x|) as its factors are changed, and each of at most 2 n results by
    2^-1022; the rest is for how later roundings enlarge that.
    """
    if _smallest(a) * _smallest(x) > _NO_UNDERFLOW:
        return 0.0
    return 4.0 * terms * _SMALLEST_NORMAL * max(1.0, _largest(a), _largest(x))


def _largest(x: Numbers) -> float:
    """The largest size of an element that is finite."""
    return float(x.abs().nan_to_num(0.0, 0.0, 0.0).amax()) if x.numel() else 0.0


def _smallest(x: Numbers) -> float:
    """The smallest size of a nonzero element, as far as it is below 1."""
    sizes = x.abs()
    return float(torch.where(sizes > 0, sizes, 1.0).amin()) if x.numel() else 1.0


def _ball(center: Numbers, radius: Numbers) -> Interval:
    """[center - radius, center + radius], everything where one of them is NaN or infinite.

    Both are computed from finite numbers, so each NaN is the difference of overflows.
    """
    known = center.isfinite() & radius.isfinite()
    middle = torch.where(known, center, 0.0)
    around = torch.where(known, radius, math.inf)
    return Interval(sum_down(middle, -around), sum_up(middle, around))

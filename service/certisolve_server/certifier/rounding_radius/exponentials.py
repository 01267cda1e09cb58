"""Exponentials by their sum, and the logarithm of the sum.

All are computed of t_j = m - x_j >= 0 with the largest m of a group, which is one of the numbers:
t is off by u t, so e^-t by (u t + E) of itself with the error E of the library, and a sum of n of
them by the largest such share and gamma_n. The sum is at least 1, up to E.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from certisolve_server.certifier.arithmetic import stack
from certisolve_server.certifier.arithmetic.rounding import product_up, sqrt_up, sum_up
from certisolve_server.certifier.arithmetic.sums import sum_of_sizes
from certisolve_server.certifier.rules import Declined

from . import arithmetic
from .deviation import Deviation, Known, euclidean, number, rounded
from .precision import Precision
from .rule import Operand, Rules
from .steps import value_by_rule


def softmax(precision: Precision, self: Known, dim: int, dtype: object) -> Deviation:
    """e^x_i / sum_j e^x_j along an axis.

    Its Jacobian diag(y) - y y^T is positive semidefinite with row sums of sizes
    2 y_i (1 - y_i) <= 1/2, so |dy|_2 <= |dx|_2 / 2 and |dy_i| <= max |dx| / 2.
    """
    del dtype
    shares = value_by_rule("aten.softmax.int", self, dim=dim, dtype=None).magnitude
    off = self.deviation.entries
    mixed = sum_of_sizes(product_up(shares, off), dim).unsqueeze(dim)
    by_shares = product_up(shares, sum_up(off, mixed))
    entries = torch.minimum(by_shares, 0.5 * off.amax(dim, keepdim=True))
    changed = Deviation.within(entries, 0.5 * self.deviation.length)
    # (1 + r)(1 + 3 u) / (1 - r) / (1 - gamma) - 1 <= 2 s for s = 2 r + gamma + 4 u <= 1/4.
    of_one = number(4.0 * precision.unit_roundoff)
    share = sum_up(sum_up(_share(precision, self, dim), _share(precision, self, dim)), of_one)
    _require_small(share)
    terms = self.shape[dim]
    lost = number((terms + 4) * precision.absolute)
    return changed.plus(Deviation.within(sum_up(product_up(shares, 2.0 * share), lost)))


def log_sum_exp(precision: Precision, self: Known, dim: Sequence[int], keepdim: bool) -> Deviation:
    """Log sum_j e^x_j = m + log sum_j e^-t_j along one axis, whose gradient is the softmax."""
    if len(dim) != 1:
        raise Declined("sums along several axes")
    [axis] = dim
    changed = Deviation.within(self.deviation.entries.amax(axis, keepdim), self.deviation.length)
    local = _of_log(precision, self, axis)
    return changed.plus(Deviation.within(local if keepdim else local.squeeze(axis)))


def log_softmax(precision: Precision, self: Known, dim: int, dtype: object) -> Deviation:
    """X - m - log sum_j e^-t_j, in any order; its Jacobian is I - 1 y^T."""
    del dtype
    off = self.deviation.entries
    grown = sum_up(number(1.0), sqrt_up(number(float(self.shape[dim]))))
    changed = Deviation.within(
        sum_up(off, off.amax(dim, keepdim=True)), product_up(self.deviation.length, grown)
    )
    sizes = sum_up(self.size, self.size.amax(dim, keepdim=True))
    apart = rounded(sizes, 4.0 * precision.unit_roundoff, precision.absolute)
    local = _of_log(precision, self, dim).expand(self.shape)
    return changed.plus(apart).plus(Deviation.within(local))


def log_add_exp(precision: Precision, self: Operand, other: Operand) -> Deviation:
    """log(e^x + e^y)."""
    x, y = arithmetic.broadcast(precision, self, other)
    length = euclidean(torch.stack([x.deviation.length, y.deviation.length]))
    both = torch.stack([x.deviation.entries, y.deviation.entries], -1)
    pair = Known(stack([x.hull, y.hull], -1), Deviation.within(both, length), True)
    return log_sum_exp(precision, pair, [-1], keepdim=False)


#: By overload.
RULES: Rules = {
    "aten.log_softmax.int": log_softmax,
    "aten.logaddexp.default": log_add_exp,
    "aten.logsumexp.default": log_sum_exp,
    "aten.softmax.int": softmax,
}


def _share(precision: Precision, x: Known, dim: int) -> Tensor:
    """At least r + gamma_n: what the sum is off by, of itself, group by group.

    r = u max t + E, and as much again where the sum is enlarged by what was flushed to 0.
    """
    widest = x.hull.upper.amax(dim, keepdim=True) - x.hull.lower.amin(dim, keepdim=True)
    u = precision.unit_roundoff
    terms = x.shape[dim]
    of_exp = precision.of_library("exponential of a sum") + 4.0 * u
    of_sum = precision.gamma(terms) + terms * 2.0 * precision.absolute
    return sum_up(
        product_up(widest.abs(), number(2.0 * u)), number((of_exp + of_sum) * (1.0 + 1e-9))
    )


def _of_log(precision: Precision, x: Known, dim: int) -> Tensor:
    """What m + log sum_j e^-t_j is off by, with 0 <= log sum_j e^-t_j <= log n."""
    share = _share(precision, x, dim)
    _require_small(share)
    sizes = x.size.amax(dim, keepdim=True)
    log = math.log(x.shape[dim]) + 1.0
    of_log = (precision.of_library("log") + 4.0 * precision.unit_roundoff) * log
    of_sum = product_up(sizes, number(4.0 * precision.unit_roundoff))
    # log(1 + d) <= 2 |d| for |d| <= 1/2.
    return sum_up(sum_up(2.0 * share, number(of_log * (1.0 + 1e-9) + precision.absolute)), of_sum)


def _require_small(share: Tensor) -> None:
    # False of NaN.
    if not bool((share <= 0.25).all()):
        raise ValueError("exponentials that are too far apart leave nothing of their sum")

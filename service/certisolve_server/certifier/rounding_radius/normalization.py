"""Normalisation by statistics, stored ones or those of the numbers themselves.

Of n numbers of sizes up to M, the mean is off by at most gamma_m M and the variance by at most
8 gamma_m M^2 with m = n + 32, whatever way torch takes (Chan, Golub, LeVeque, The American
Statistician 37, 1983):

- in two passes, differences from the mean are off by gamma_n M + 2 u M, squares of them by 4 M
  times that and 4 u M^2, their mean by gamma_(n+1) 4 M^2 more;
- as the mean of squares less the square of the mean, by (gamma_(n+1) + 2 gamma_n + 3 u) M^2;
- by Welford's recursion, the mean after k steps by (6 + (k + 1) / 2) u M, so the variance by
  (2 n + 37) u M^2; each of log2 n rounds in which parts are merged adds 5 u M and 10 u M^2.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from certisolve_server.certifier.arithmetic import Interval, total
from certisolve_server.certifier.arithmetic.rounding import down, product_up, sqrt_up, sum_up, up
from certisolve_server.certifier.arithmetic.sums import mean, sum_of_sizes
from certisolve_server.certifier.errors import NotCertified
from certisolve_server.certifier.functions import find
from certisolve_server.certifier.rules import Declined

from . import arithmetic
from .deviation import Deviation, Known, largest, number, rounded
from .precision import Precision
from .rule import Rules
from .steps import require_constant, reshaped, step, within

_MERGES = 32


def layer_norm(
    precision: Precision,
    input: Known,
    normalized_shape: Sequence[int],
    weight: Known | None,
    bias: Known | None,
    eps: float,
    **_how: object,
) -> Deviation:
    """(x - mean) / sqrt(variance + eps) w + b over the last axes."""
    shape = input.shape
    groups = math.prod(shape[: len(shape) - len(normalized_shape)])
    standard = reshaped(_standardised(precision, reshaped(input, groups, -1), eps), *shape)
    return _affine(precision, standard, weight, bias)


def group_norm(
    precision: Precision,
    input: Known,
    num_groups: int,
    weight: Known | None,
    bias: Known | None,
    eps: float,
    **_how: object,
) -> Deviation:
    """As `layer_norm`, over groups of channels and all of space; w and b by channel."""
    batch, channels, *space = input.shape
    grouped = reshaped(input, batch * num_groups, -1)
    standard = reshaped(_standardised(precision, grouped, eps), batch, channels, *space)
    ones = (1,) * len(space)
    w, b = (each if each is None else reshaped(each, -1, *ones) for each in (weight, bias))
    return _affine(precision, standard, w, b)


def batch_norm(
    precision: Precision,
    input: Known,
    weight: Known | None,
    bias: Known | None,
    running_mean: Known | None,
    running_var: Known | None,
    training: bool,
    eps: float,
    **_how: object,
) -> Deviation:
    """(x - mean) s + b with s = w / sqrt(variance + eps), or as x s + (b - mean s)."""
    if training or running_mean is None or running_var is None:
        raise Declined("takes its statistics from what it normalises")
    require_constant(weight, bias, running_mean, running_var)
    scale = find("rsqrt").value(running_var.hull + Interval.exact(eps)).magnitude
    if weight is not None:
        scale = product_up(scale, weight.size)
    axes = (1,) * (len(input.shape) - 2)
    by_channel = scale.reshape(-1, *axes)
    changed = arithmetic.weighted(input.deviation, by_channel.expand(input.shape))
    centre = running_mean.size.reshape(-1, *axes)
    sizes = product_up(sum_up(input.size, centre), by_channel)
    if bias is not None:
        sizes = sum_up(sizes, bias.size.reshape(-1, *axes))
    precision.require_range(sizes)
    share = precision.of_library("rsqrt") + precision.gamma(12)
    lost = product_up(sum_up(by_channel.amax(), number(1.0)), number(precision.absolute))
    return changed.plus(rounded(sizes, share, 0.0)).plus(Deviation.within(lost.expand(input.shape)))


#: By overload.
RULES: Rules = {
    "aten.batch_norm.default": batch_norm,
    "aten.group_norm.default": group_norm,
    "aten.layer_norm.default": layer_norm,
}


@dataclass(frozen=True)
class _Scale:
    """1 / sqrt(variance + eps) of each group, (groups, 1).

    Args:
        most: at least the exact one.
        off: how far the computed one is from it.
    """

    most: Tensor
    off: Tensor


def _standardised(precision: Precision, x: Known, eps: float) -> Known:
    """(x - mean) / sqrt(variance + eps) of each row, possibly as x s - mean s.

    With s = 1 / sqrt(variance + eps) the Jacobian of one row is s (I - 1 1^T / n - c y y^T / n),
    0 <= c <= 1, in l2 not above s, since 1 and y are orthogonal and |y|_2^2 <= n. So
    |dy|_2 <= s |dx|_2 and |dy_i| <= s (|dx_i| + mean |dx| + |y_i| |dx|_2 / sqrt n).
    """
    n = x.shape[-1]
    off, size = x.deviation.entries, x.size
    scale = _scale(precision, x, eps)
    sizes = size.amax(-1, keepdim=True)
    middle = mean(x.hull, -1, keepdim=True)
    centered = (x.hull - middle).magnitude
    root = sqrt_up(number(float(n)))
    standard = torch.minimum(product_up(centered, scale.most), root)
    spread = up(sqrt_up(sum_of_sizes(product_up(off, off), -1)) / math.sqrt(n)).unsqueeze(-1)
    average = up(sum_of_sizes(off, -1) / n).unsqueeze(-1)
    mixed = sum_up(sum_up(off, average), product_up(standard, up(spread)))
    changed = Deviation.within(
        product_up(mixed, scale.most), product_up(x.deviation.length, largest(scale.most))
    )
    computed = sum_up(scale.most, scale.off)
    of_mean = product_up(sizes, number(precision.gamma(n + _MERGES)))
    of_difference = product_up(sum_up(size, sizes), number(precision.gamma(8)))
    flushed = number(4.0 * precision.absolute)
    precision.require_range(product_up(sum_up(size, sizes), computed))
    local = sum_up(
        product_up(sum_up(sum_up(of_mean, of_difference), flushed), computed),
        product_up(centered, scale.off),
    )
    deviation = changed.plus(Deviation.within(sum_up(local, flushed)))
    return step(precision, within(standard), deviation, x)


def _scale(precision: Precision, x: Known, eps: float) -> _Scale:
    """Of 1 / sqrt(v + eps), off by d of v with d <= (v + eps) / 2: by d / (v + eps) of itself.

    Where d may be more, the computed variance is still not negative, and both are within
    [0, 1 / sqrt(eps)].
    """
    n = x.shape[-1]
    sizes = x.size.amax(-1, keepdim=True)
    squares = product_up(sizes, sizes)
    precision.require_range(product_up(squares, number(4.0 * n)))
    eps_off = precision.of_number(eps)
    spread = down(_least_variance(x) + (eps - 2.0 * eps_off))
    if not bool((spread > precision.smallest).all()):
        raise NotCertified("what is divided by may round to 0")
    off = sum_up(
        product_up(squares, number(8.0 * precision.gamma(n + _MERGES))),
        number(2.0 * eps_off + (n + 4) * precision.absolute),
    )
    most = find("rsqrt").value(Interval.exact(spread)).upper
    share = up(off / spread)
    library = number(precision.of_library("rsqrt") + precision.gamma(6))
    near = product_up(most, sum_up(share, 2.0 * library))
    floor = eps - 2.0 * eps_off
    far = math.inf if floor <= precision.smallest else 1.001 / math.sqrt(floor)
    within_range = torch.where(share <= 0.5, near, far)
    if not bool(within_range.isfinite().all()):
        raise NotCertified("a variance may round to 0")
    return _Scale(most, within_range)


def _least_variance(x: Known) -> Tensor:
    """Of all rows in the hull: standard deviations differ by at most |x - c|_2 / sqrt n."""
    n = x.shape[-1]
    center, radius = x.hull.midpoint_radius()
    exact = Interval.exact(center)
    around = exact - mean(exact, -1, keepdim=True)
    variance = total(around.square(), -1, keepdim=True) / float(n)
    deviation = find("sqrt").value(Interval(variance.lower.clamp(min=0.0), variance.upper)).lower
    root = find("sqrt").value(Interval.exact(float(n))).lower
    reach = up(sqrt_up(sum_of_sizes(product_up(radius, radius), -1)) / root)
    least = down(deviation - reach.unsqueeze(-1)).clamp(min=0.0)
    return down(least * least).clamp(min=0.0)


def _affine(precision: Precision, x: Known, weight: Known | None, bias: Known | None) -> Deviation:
    """X w + b, where w may be multiplied into the scale and b be added to the mean before."""
    require_constant(weight, bias)
    if weight is not None:
        scaled = arithmetic.multiply(precision, x, weight)
        x = step(precision, within(product_up(x.size, weight.size)), scaled, x)
    if bias is None:
        return x.deviation
    again = rounded(bias.size.expand(x.shape), precision.gamma(4), precision.absolute)
    return arithmetic.add(precision, x, bias, 1.0).plus(again)

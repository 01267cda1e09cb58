"""How differences change over a step: enclosures of the transition matrices of d' = M(t) d.

For measurable M(t) in C +- R, N = |C| + R, the series of Peano and Baker gives, elementwise,

    |P - sum over m <= K of (h C)^m / m!| <= sum over m <= K of h^m (N^m - |C|^m) / m! + tail

(products of matrices within C +- R differ from C^m by at most N^m - |C|^m, and averages of what
lies in an interval lie there too), where tail = sum over m > K of (h N)^m / m!. If a field is not
smooth, its difference quotients along two trajectories can still be chosen measurable, as the set
of those that fit is closed and depends on time upper semicontinuously (Kuratowski and
Ryll-Nardzewski, 1965).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from certisolve_server.certifier.arithmetic import Interval, gamma

#: K, the terms that are computed.
TERMS = 8

#: Of h |N|, so that the tail is a geometric series of at most 1/2.
LARGEST = 0.5

#: What each rounding of numbers that are not negative, and they are fewer than 2^20, is paid by.
_RAISED = 1.0 + 2.0**-30

#: More than anything that underflows, on the way to results of ordinary size.
_UNDERFLOW = 2.0**-800


@dataclass(frozen=True, eq=False)
class Transitions:
    """Of many steps: every transition matrix lies in `center` +- `radius`.

    Args:
        center: (..., n, n), floats.
        radius: (..., n, n).
        excess: (..., n, n), at least |P - I| of this step and of every part of it; inf where the
            step is too long for any bound.
    """

    center: Tensor
    radius: Tensor
    excess: Tensor


def transitions(slopes: Interval, dt: float) -> Transitions:
    """Of steps of one length.

    Args:
        slopes: (..., n, n), where M(t) lies on each step.
        dt: h, taken exactly.
    """
    center, radius = slopes.midpoint_radius()
    size = center.shape[-1]
    sizes = _raised(center.abs() + radius)
    short = _raised(dt * sizes.sum(-1)).amax(-1) <= LARGEST
    keep = short[..., None, None]
    center, radius, sizes = (torch.where(keep, each, 0.0) for each in (center, radius, sizes))
    scaled, spread = dt * center, _raised(dt * radius)
    terms, apart = _raised(dt * sizes), spread
    excess, apart_in_all = terms, spread
    powers = terms
    for m in range(2, TERMS + 1):
        apart = _raised((powers @ spread + apart @ scaled.abs()) / m)
        powers = _raised(powers @ terms / m)
        apart_in_all, excess = _raised(apart_in_all + apart), _raised(excess + powers)
    tail = _tail(terms)
    excess = _raised(excess + tail) + _UNDERFLOW
    identity = torch.eye(size, dtype=torch.float64)
    # Each of K stages of Horner's scheme has n products, a quotient and sums: see Higham, 5.1.
    rounding = gamma(TERMS * (size + 6)) * (identity + excess)
    result = identity
    for m in range(TERMS, 0, -1):
        result = identity + (scaled @ result) / m
    radius = _raised(apart_in_all + tail + rounding) + _UNDERFLOW
    return Transitions(
        result, torch.where(keep, radius, math.inf), torch.where(keep, excess, math.inf)
    )


def _tail(terms: Tensor) -> Tensor:
    """(..., 1, 1): at least each element of the sum of A^m / m! over m > K, for |A| <= 1/2."""
    largest = _raised(terms.sum(-1)).amax(-1)[..., None, None]
    power = _raised(largest ** (TERMS + 1))
    return _raised(power * (2.0 / math.factorial(TERMS + 1))) + _UNDERFLOW


def _raised(sizes: Tensor) -> Tensor:
    """At least the exact value of a sum, product or quotient of such sizes."""
    return sizes * _RAISED

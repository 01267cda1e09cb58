"""Norms of enclosed vectors, from below and from above."""

import math

import torch
from torch import Tensor

from certisolve_server.certifier.arithmetic import Interval
from certisolve_server.certifier.arithmetic.bilinear import gamma
from certisolve_server.certifier.arithmetic.norms import Norm
from certisolve_server.certifier.arithmetic.rounding import down
from certisolve_server.certifier.region import length


def lengths(vector: Interval, norm: Norm) -> Interval:
    """The norms of all members of (..., entries)."""
    return Interval(_least(vector.mignitude, norm), length(vector.magnitude, norm))


def _least(sizes: Tensor, norm: Norm) -> Tensor:
    """At most the norm of vectors with entries of at least these sizes, 0 or more.

    n terms that are not negative are summed with a relative error of at most gamma_n in any order,
    and what underflows among their squares is left away (Higham, 2002, section 3.1).
    """
    if norm == "linf":
        return sizes.amax(-1)
    share = 1.0 - 2.0 * gamma(sizes.shape[-1] + 4)
    if norm == "l1":
        return down(sizes.sum(-1) * share).clamp(min=0.0)
    # Scaled by a power of two no square overflows.
    scale = 2.0 ** min(max(math.frexp(float(sizes.amax()))[1], -1000), 1000)
    squares = down(down(sizes / scale).clamp(min=0.0).square()).clamp(min=0.0)
    root = torch.sqrt(squares.sum(-1) * share) * (1.0 - gamma(8))
    return down(down(root).clamp(min=0.0) * scale).clamp(min=0.0)

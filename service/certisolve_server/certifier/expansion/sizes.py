"""Upper bounds from sums of products that are not negative, in plain arithmetic.

Such a sum of fewer than 2^25 terms is computed to within 2^-28 of itself, relative, whatever the
order (Higham, Accuracy and Stability, section 3.1); `MORE` pays for it and some roundings after
it. What underflow may take, roots of sums of squares included, is below 2^-490 as long as
numbers are below `LARGEST`, and paid for by `SMALLEST` where errors begin.
"""

import math

import torch
from torch import Tensor

from certisolve_server.certifier.arithmetic import gamma, spectral_norm
from certisolve_server.certifier.errors import NotCertified

MORE = 1.0 + 2.0**-26
SMALLEST = 2.0**-480
LARGEST = 2.0**100
_MOST_TERMS = 1 << 25


def require_tame(fields: Tensor) -> None:
    """Returns if nothing is lost to overflow, underflow or too many terms.

    Raises:
        NotCertified: it may be.
    """
    # False of NaN.
    if not bool((fields.abs() < LARGEST).all()):
        raise NotCertified("numbers grow too large for an expansion")
    if fields.numel() >= _MOST_TERMS:
        raise NotCertified("fields are too large for an expansion")


def frobenius(x: Tensor) -> float:
    """At least |x|_F."""
    return float(torch.linalg.vector_norm(x)) * MORE + SMALLEST


def lengths(rows: Tensor) -> Tensor:
    """At least |row|_2 of each, (batch, ...) to (batch,)."""
    return lengths_along(rows.flatten(1), 1)


def lengths_along(x: Tensor, dim: int) -> Tensor:
    """At least the l2 norm along an axis."""
    squares: Tensor = x.square().sum(dim)
    return squares.sqrt() * MORE + SMALLEST


def spectral(rows: Tensor) -> float:
    """At least |M|_2 of the matrix of rows, (batch, ...), batch not large.

    |M|_2^2 = |M M^T|_2, and the product is computed to within gamma_n |M|_F^2 in l2, as each entry
    is to within gamma_n |row| |row'|.
    """
    flat = rows.flatten(1)
    product = flat @ flat.mT
    off = gamma(flat.shape[1]) * frobenius(flat) ** 2 * MORE
    return math.sqrt((float(spectral_norm(product)) + off) * MORE) * MORE + SMALLEST

"""The matrices of Fourier transforms over real and imaginary parts, enclosed.

Rows and columns of complex numbers are those of all real parts, then of all imaginary parts.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from certisolve_server.certifier.arithmetic import Interval, concatenate
from certisolve_server.certifier.functions.registry import find
from certisolve_server.certifier.operators.fourier import roots_of_unity


def to_half_spectrum(points: int, divisor: str) -> Interval:
    """Of real numbers: u^_k = sum_x u_x e^{-2 pi i k x / n}, (2 (n // 2 + 1), points).

    Args:
        points: n.
        divisor: what the transform is divided by: "1", "root" of n, or "n".
    """
    cos, sin = _table(points // 2 + 1, points, points)
    return concatenate((cos, -sin), 0) / _divisor(divisor, points)


def whole_spectrum(points: int, divisor: str, sign: int) -> Interval:
    """Of complex numbers, all frequencies: e^{-2 pi i k x / n}, sign 1, or its inverse, sign -1."""
    cos, sin = _table(points, points, points)
    sine = -sin if sign > 0 else sin
    above, below = concatenate((cos, -sine), 1), concatenate((sine, cos), 1)
    return concatenate((above, below), 0) / _divisor(divisor, points)


def from_half_spectrum(points: int, count: int, divisor: str) -> Interval:
    """To real numbers, of the first `count` frequencies, (points, 2 count).

    Frequencies beyond n / 2 are left out; imaginary parts at 0 and n / 2 have no influence.
    """
    cos, sin = _table(count, points, points)
    k = torch.arange(count)
    own = (k == 0) | (2 * k == points)
    weights = torch.where(own, 1.0, torch.where(2 * k > points, 0.0, 2.0)).to(torch.float64)
    through_real = cos.rearranged(_transposed) * weights
    through_imaginary = -(sin.rearranged(_transposed) * torch.where(own, 0.0, weights))
    return concatenate((through_real, through_imaginary), 1) / _divisor(divisor, points)


def _table(frequencies: int, points: int, order: int) -> tuple[Interval, Interval]:
    """Cos and sin of 2 pi k x / order, (frequencies, points)."""
    places = (torch.arange(frequencies)[:, None] * torch.arange(points)) % order
    cos, sin = roots_of_unity(order)
    pick: Callable[[Tensor], Tensor] = lambda ends: ends[places]  # noqa: E731
    return cos.rearranged(pick), sin.rearranged(pick)


def _divisor(name: str, points: int) -> Interval:
    size = Interval.exact(float(points))
    if name == "root":
        return find("sqrt").value(size)
    return size if name == "n" else Interval.exact(1.0)


def _transposed(ends: Tensor) -> Tensor:
    return ends.mT

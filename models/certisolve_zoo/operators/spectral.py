"""Spectral convolutions as truncated Fourier transforms in real arithmetic.

A spectral convolution keeps the lowest Fourier modes of a field, multiplies each by a learned
complex matrix over the channels, and transforms back (Li et al., 2020). Written as products with
cosine and sine matrices there is no complex number and no FFT in the graph, which exports to every
runtime and fuses into a few matrix products. Both forms agree to rounding.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

# Period over length of a continued field, as a fraction: 9/7 is a whole number of cells on the
# grids of 43, 71, 106, 141 and 211 nodes.
EXTENSION = (9, 7)


class Basis1d(NamedTuple):
    """Matrices of one grid, shared by the layers of a network: m cosines, then m sines.

    Attributes:
        forward: quadrature weights times (cos, -sin)(2πkx).
        inverse: w_k (cos, -sin)(2πkx), with w_0 = 1 and w_k = 2 for the modes whose conjugates are
            not stored.
    """

    forward: Float[Tensor, "wave x"]
    inverse: Float[Tensor, "x wave"]


class Basis2d(NamedTuple):
    """Matrices of one grid: half a transform along x, then a full complex one along y."""

    x: Basis1d
    forward_y: Float[Tensor, "wave pair"]
    inverse_y: Float[Tensor, "pair wave"]


def periodic_basis(num_points: int, num_modes: int, like: Tensor) -> Basis1d:
    """Modes 0 <= k < m on the N points i/N of a periodic interval: the discrete transform."""
    n = torch.arange(num_points, device=like.device)
    period = n[-1:] + 1
    waves = torch.cat(_waves(n, period, (0, num_modes), like))
    return Basis1d(waves / period, waves.T * _hermitian_weight(num_modes, like))


def periodic_basis_2d(rows: int, columns: int, num_modes: tuple[int, int], like: Tensor) -> Basis2d:
    """Modes -m1 <= k1 < m1 along y and 0 <= k2 < m2 along x, on the nodes i/N of a torus."""
    m1, m2 = num_modes
    n = torch.arange(rows, device=like.device)
    period = n[-1:] + 1
    waves = _pairs(*_waves(n, period, (-m1, m1), like))
    return Basis2d(periodic_basis(columns, m2, like), waves / period, waves.T)


def nodal_basis(rows: int, columns: int, num_modes: tuple[int, int], like: Tensor) -> Basis2d:
    """Modes -m1 <= k1 < m1 along y and 0 <= k2 < m2 along x, on nodes i/(N-1) of a square.

    The field is continued by zero to EXTENSION times its length, since it is not periodic. The
    padded points cost nothing: they are left out of both matrices. Coefficients are integrals by
    the trapezoidal rule, so that they do not depend on the resolution to first order.
    """
    m1, m2 = num_modes
    n = torch.arange(rows, device=like.device)
    waves = _pairs(*_waves(n, _extended(n), (-m1, m1), like))
    forward_y = waves * _trapezoid(n, like).repeat(2)
    n = torch.arange(columns, device=like.device)
    half = torch.cat(_waves(n, _extended(n), (0, m2), like))
    x = Basis1d(half * _trapezoid(n, like), half.T * _hermitian_weight(m2, like))
    return Basis2d(x, forward_y, waves.T)


def _waves(
    n: Int[Tensor, " x"], period: Int[Tensor, "1"], modes: tuple[int, int], like: Tensor
) -> tuple[Float[Tensor, "mode x"], Float[Tensor, "mode x"]]:
    """cos(2πkn/P) and -sin(2πkn/P) for first <= k < last.

    The angle is reduced with the integer kn mod P, since float32 loses digits of large angles. P
    is a tensor because ONNX has no remainder by a symbolic size.
    """
    k = torch.arange(*modes, device=like.device)
    turns = (k[:, None] * n).remainder(period).to(like.dtype) / period
    angle = 2 * math.pi * turns
    return angle.cos(), -angle.sin()


def _pairs(
    cos: Float[Tensor, "mode x"], sin: Float[Tensor, "mode x"]
) -> Float[Tensor, "wave pair"]:
    """The product with cos + i sin as a matrix over real parts, then imaginary parts."""
    return torch.cat([torch.cat([cos, -sin], dim=1), torch.cat([sin, cos], dim=1)])


def _extended(n: Int[Tensor, " x"]) -> Int[Tensor, "1"]:
    """Period in cells of the continued field; exact where 7 divides the number of cells."""
    return n[-1:] * EXTENSION[0] // EXTENSION[1]


def _trapezoid(n: Int[Tensor, " x"], like: Tensor) -> Float[Tensor, " x"]:
    ends = (n == 0) | (n == n[-1:])
    return (1 - 0.5 * ends.to(like.dtype)) / n[-1:]


def _hermitian_weight(num_modes: int, like: Tensor) -> Float[Tensor, " wave"]:
    weight = torch.full((2, num_modes), 2.0, dtype=like.dtype, device=like.device)
    return torch.cat([weight[:, :1] / 2, weight[:, 1:]], dim=1).flatten()


class SpectralConv1d(nn.Module):
    """y(x) = Re Σ_{0<=k<m} w_k e^{2πikx} R_k û_k with w_0 = 1 and w_k = 2 for k > 0.

    Args:
        channels: components of the field, before and after.
        num_modes: m; the grid needs at least 2m points.
    """

    def __init__(self, channels: int, num_modes: int) -> None:
        super().__init__()
        self.num_modes = num_modes
        self.weight_real = _random_weight(num_modes, channels)
        self.weight_imag = _random_weight(num_modes, channels)

    def forward(
        self, u: Float[Tensor, "batch x channel"], basis: Basis1d
    ) -> Float[Tensor, "batch x channel"]:
        """The convolved field on the same grid."""
        return convolve_1d(u, basis, self.weight_real, self.weight_imag)


class SpectralConv2d(nn.Module):
    """The same in two dimensions.

    Args:
        channels: components of the field, before and after.
        num_modes: (m1, m2); the grid needs at least 2 m1 by 2 m2 points.
    """

    def __init__(self, channels: int, num_modes: tuple[int, int]) -> None:
        super().__init__()
        self.num_modes = num_modes
        self.weight_real = _random_weight(2 * num_modes[0] * num_modes[1], channels)
        self.weight_imag = _random_weight(2 * num_modes[0] * num_modes[1], channels)

    def forward(
        self, u: Float[Tensor, "batch y x channel"], basis: Basis2d
    ) -> Float[Tensor, "batch y x channel"]:
        """The convolved field on the same grid."""
        return convolve_2d(u, basis, self.num_modes, self.weight_real, self.weight_imag)


def convolve_1d(
    u: Float[Tensor, "batch x channel_in"],
    basis: Basis1d,
    weight_real: Float[Tensor, "mode channel_in channel_out"],
    weight_imag: Float[Tensor, "mode channel_in channel_out"],
) -> Float[Tensor, "batch x channel_out"]:
    """Transform, multiply each mode by its matrix, transform back."""
    spectrum = torch.unflatten(torch.matmul(basis.forward, u), 1, (2, len(weight_real)))
    mixed = _mix(spectrum.permute(2, 1, 0, 3), weight_real, weight_imag)
    return torch.matmul(basis.inverse, mixed.permute(2, 1, 0, 3).flatten(1, 2))


def convolve_2d(
    u: Float[Tensor, "batch y x channel_in"],
    basis: Basis2d,
    num_modes: tuple[int, int],
    weight_real: Float[Tensor, "mode channel_in channel_out"],
    weight_imag: Float[Tensor, "mode channel_in channel_out"],
) -> Float[Tensor, "batch y x channel_out"]:
    """The same in two dimensions; axis `mode` runs over (k1, k2), k2 fastest."""
    m1, m2 = num_modes
    channels_in, channels_out = weight_real.shape[1:]
    half = torch.unflatten(torch.matmul(basis.x.forward, u), 2, (2, m2))
    columns = half.permute(0, 2, 1, 3, 4).flatten(3).flatten(1, 2)
    spectrum = torch.matmul(basis.forward_y, columns)
    modes = torch.unflatten(torch.unflatten(spectrum, 2, (m2, channels_in)), 1, (2, 2 * m1))
    modes = modes.flatten(2, 3).permute(2, 1, 0, 3)
    mixed = _mix(modes, weight_real, weight_imag).permute(2, 1, 0, 3)

    modes = torch.unflatten(mixed, 2, (2 * m1, m2)).flatten(3).flatten(1, 2)
    columns = torch.unflatten(torch.matmul(basis.inverse_y, modes), 1, (2, -1))
    half = torch.unflatten(columns, 3, (m2, channels_out)).permute(0, 2, 1, 3, 4).flatten(2, 3)
    return torch.matmul(basis.x.inverse, half)


def _random_weight(num_modes: int, channels: int) -> nn.Parameter:
    """One part of the matrices of all modes, scaled to keep the size of what they act on."""
    scale = 1 / math.sqrt(2 * channels)
    return nn.Parameter(scale * torch.randn(num_modes, channels, channels))


def _mix(
    modes: Float[Tensor, "mode 2 batch channel"],
    weight_real: Float[Tensor, "mode channel channel_out"],
    weight_imag: Float[Tensor, "mode channel channel_out"],
) -> Float[Tensor, "mode 2 batch channel_out"]:
    """Complex matrix product per mode; axis 1 holds real and imaginary parts."""
    stacked = modes.flatten(1, 2)
    by_real = torch.unflatten(torch.bmm(stacked, weight_real), 1, (2, -1))
    by_imag = torch.unflatten(torch.bmm(stacked, weight_imag), 1, (2, -1))
    real = by_real[:, 0] - by_imag[:, 1]
    imag = by_real[:, 1] + by_imag[:, 0]
    return torch.stack([real, imag], dim=1)

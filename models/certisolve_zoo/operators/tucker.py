"""Spectral convolutions whose weights are Tucker-factorised.

    R[k, i, o] = Σ_{r a b} U[k, r] G[r, a, b] V[i, a] W[b, o]

(Kossaifi et al., "Multi-Grid Tensorized Fourier Neural Operator", 2023). The core G is complex, the
factors are real. The factors over the channels therefore commute with the Fourier transform and are
applied to the field itself, so that fewer channels are transformed.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .spectral import Basis1d, Basis2d, convolve_1d, convolve_2d


class TuckerConv1d(nn.Module):
    """`SpectralConv1d` of low rank.

    Args:
        channels: components of the field, before and after.
        num_modes: m; the grid needs at least 2m points.
        ranks: over the modes, and over the channels.
    """

    def __init__(self, channels: int, num_modes: int, ranks: tuple[int, int]) -> None:
        super().__init__()
        mode_rank, channel_rank = ranks
        self.factor_mode = _factor(num_modes, mode_rank)
        self.factor_in = _factor(channels, channel_rank)
        self.factor_out = _factor(channel_rank, channels)
        self.core_real = _core(mode_rank, channel_rank)
        self.core_imag = _core(mode_rank, channel_rank)

    def forward(
        self, u: Float[Tensor, "batch x channel"], basis: Basis1d
    ) -> Float[Tensor, "batch x channel"]:
        """The convolved field on the same grid."""
        real, imag = (
            _expanded(self.factor_mode, core) for core in (self.core_real, self.core_imag)
        )
        reduced = convolve_1d(torch.matmul(u, self.factor_in), basis, real, imag)
        return torch.matmul(reduced, self.factor_out)


class TuckerConv2d(nn.Module):
    """`SpectralConv2d` of low rank, with a factor for the modes along each axis.

    Args:
        channels: components of the field, before and after.
        num_modes: (m1, m2); the grid needs at least 2 m1 by 2 m2 points.
        ranks: over the modes along y, along x, and over the channels.
    """

    def __init__(
        self, channels: int, num_modes: tuple[int, int], ranks: tuple[int, int, int]
    ) -> None:
        super().__init__()
        rank_y, rank_x, channel_rank = ranks
        self.num_modes = num_modes
        self.factor_y = _factor(2 * num_modes[0], rank_y)
        self.factor_x = _factor(num_modes[1], rank_x)
        self.factor_in = _factor(channels, channel_rank)
        self.factor_out = _factor(channel_rank, channels)
        self.core_real = _core(rank_y * rank_x, channel_rank)
        self.core_imag = _core(rank_y * rank_x, channel_rank)

    def forward(
        self, u: Float[Tensor, "batch y x channel"], basis: Basis2d
    ) -> Float[Tensor, "batch y x channel"]:
        """The convolved field on the same grid."""
        modes = torch.kron(self.factor_y, self.factor_x)
        real, imag = (_expanded(modes, core) for core in (self.core_real, self.core_imag))
        reduced = torch.matmul(u, self.factor_in)
        reduced = convolve_2d(reduced, basis, self.num_modes, real, imag)
        return torch.matmul(reduced, self.factor_out)


def _expanded(
    modes: Float[Tensor, "mode rank"], core: Float[Tensor, "rank channel_in channel_out"]
) -> Float[Tensor, "mode channel_in channel_out"]:
    return torch.unflatten(torch.mm(modes, core.flatten(1)), 1, core.shape[1:])


def _factor(rows: int, columns: int) -> nn.Parameter:
    """Keeps the size of what it acts on, in the mean."""
    return nn.Parameter(torch.randn(rows, columns) / math.sqrt(columns))


def _core(mode_rank: int, channel_rank: int) -> nn.Parameter:
    scale = 1 / math.sqrt(2 * channel_rank)
    return nn.Parameter(scale * torch.randn(mode_rank, channel_rank, channel_rank))

"""Fourier neural operators with Tucker-factorised weights (Kossaifi et al., 2023), channels last.

The layers are those of `fno`; only the spectral weights differ. At the same number of modes they
hold a small fraction of the parameters.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .fno import projection, propagate
from .spectral import periodic_basis, periodic_basis_2d
from .tucker import TuckerConv1d, TuckerConv2d


class Tfno1d(nn.Module):
    """Translation-equivariant operator between fields on a periodic interval.

    Args:
        channels_in: components of the field it takes.
        channels_out: components of the field it returns.
        width: channels of the hidden fields.
        num_modes: Fourier modes kept, 0 <= k < num_modes; the grid needs at least twice as many.
        num_layers: spectral layers.
        ranks: of the weights over the modes, and over the channels.
    """

    def __init__(
        self,
        channels_in: int = 1,
        channels_out: int = 1,
        width: int = 32,
        num_modes: int = 16,
        num_layers: int = 4,
        *,
        ranks: tuple[int, int] = (8, 16),
    ) -> None:
        super().__init__()
        self.num_modes = num_modes
        self.lift = nn.Linear(channels_in, width)
        self.spectral = nn.ModuleList(
            TuckerConv1d(width, num_modes, ranks) for _ in range(num_layers)
        )
        self.pointwise = nn.ModuleList(nn.Linear(width, width) for _ in range(num_layers))
        self.project = projection(width, channels_out)

    def forward(
        self, field: Float[Tensor, "batch x channel_in"]
    ) -> Float[Tensor, "batch x channel_out"]:
        """The field at the trained time, on the same grid."""
        basis = periodic_basis(field.shape[1], self.num_modes, field)
        hidden = propagate(self.lift(field), basis, self.spectral, self.pointwise)
        return torch.as_tensor(self.project(hidden))


class Tfno2d(nn.Module):
    """Translation-equivariant operator between fields on a torus.

    Args:
        channels_in: components of the field it takes.
        channels_out: components of the field it returns.
        width: channels of the hidden fields.
        num_modes: (m1, m2) Fourier modes kept along y and x; the grid needs 2 m1 by 2 m2 points.
        num_layers: spectral layers.
        ranks: of the weights over the modes along y, along x, and over the channels.
    """

    def __init__(
        self,
        channels_in: int = 1,
        channels_out: int = 1,
        width: int = 32,
        num_modes: tuple[int, int] = (12, 12),
        num_layers: int = 4,
        *,
        ranks: tuple[int, int, int] = (12, 8, 16),
    ) -> None:
        super().__init__()
        self.num_modes = num_modes
        self.lift = nn.Linear(channels_in, width)
        self.spectral = nn.ModuleList(
            TuckerConv2d(width, num_modes, ranks) for _ in range(num_layers)
        )
        self.pointwise = nn.ModuleList(nn.Linear(width, width) for _ in range(num_layers))
        self.project = projection(width, channels_out)

    def forward(
        self, field: Float[Tensor, "batch y x channel_in"]
    ) -> Float[Tensor, "batch y x channel_out"]:
        """The field at the trained time, on the same grid."""
        rows, columns = field.shape[1:3]
        basis = periodic_basis_2d(rows, columns, self.num_modes, field)
        hidden = propagate(self.lift(field), basis, self.spectral, self.pointwise)
        return torch.as_tensor(self.project(hidden))

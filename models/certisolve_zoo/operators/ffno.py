"""Factorised Fourier neural operators (Tran et al., 2021), channels last, in one dimension.

    v_{l+1} = v_l + W2 GELU(W1 K_l v_l)

The residual is taken after the nonlinearity, unlike in `fno`, which lets many layers be stacked.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from .fno import projection
from .spectral import Basis1d, SpectralConv1d, periodic_basis


class FfnoLayer(nn.Module):
    """v + W2 GELU(W1 K v) with a spectral convolution K.

    Args:
        width: channels of the field.
        num_modes: Fourier modes kept, 0 <= k < num_modes.
        expansion: channels between W1 and W2, as a multiple of `width`.
    """

    def __init__(self, width: int, num_modes: int, expansion: int = 2) -> None:
        super().__init__()
        self.convolution = SpectralConv1d(width, num_modes)
        self.widen = nn.Linear(width, expansion * width)
        self.narrow = nn.Linear(expansion * width, width)

    def forward(
        self, v: Float[Tensor, "batch x channel"], basis: Basis1d
    ) -> Float[Tensor, "batch x channel"]:
        """The next hidden field on the same grid."""
        hidden = functional.gelu(self.widen(self.convolution(v, basis)))
        return torch.add(v, self.narrow(hidden))


class Ffno1d(nn.Module):
    """One step of a flow on a periodic interval, from the present frame alone.

    It is the Markovian counterpart of `memno.MemNo1d`.

    Args:
        channels: components of the field.
        width: channels of the hidden fields.
        num_modes: Fourier modes kept, 0 <= k < num_modes; the grid needs at least twice as many.
        num_layers: spectral layers.
    """

    def __init__(
        self, channels: int = 1, width: int = 32, num_modes: int = 16, num_layers: int = 4
    ) -> None:
        super().__init__()
        self.num_modes = num_modes
        self.lift = nn.Linear(channels, width)
        self.layers = nn.ModuleList(FfnoLayer(width, num_modes) for _ in range(num_layers))
        self.project = projection(width, channels)

    def forward(self, frame: Float[Tensor, "batch x channel"]) -> Float[Tensor, "batch x channel"]:
        """The frame one time step later, as the present one plus an increment."""
        basis = periodic_basis(frame.shape[1], self.num_modes, frame)
        hidden = self.lift(frame)
        for layer in self.layers:
            hidden = layer(hidden, basis)
        return torch.add(frame, self.project(hidden))

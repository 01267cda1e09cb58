"""Fourier neural operators (Li et al., 2020), channels last, in real arithmetic.

    v_0 = P(a),   v_{l+1} = GELU(K_l v_l + W_l v_l),   u = Q(v_L)

K_l is a spectral convolution, W_l a matrix over the channels, P and Q act point by point.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from .spectral import (
    Basis1d,
    Basis2d,
    SpectralConv1d,
    SpectralConv2d,
    nodal_basis,
    periodic_basis,
    periodic_basis_2d,
)


class Fno1d(nn.Module):
    """Translation-equivariant operator between scalar fields on a periodic interval.

    No coordinate enters, so shifting the input by whole grid cells shifts the output alike.

    Args:
        width: channels of the hidden fields.
        num_modes: Fourier modes kept, 0 <= k < num_modes.
        num_layers: spectral layers.
    """

    def __init__(self, width: int, num_modes: int, num_layers: int) -> None:
        super().__init__()
        self.num_modes = num_modes
        self.lift = nn.Linear(1, width)
        self.spectral = nn.ModuleList(SpectralConv1d(width, num_modes) for _ in range(num_layers))
        self.pointwise = nn.ModuleList(nn.Linear(width, width) for _ in range(num_layers))
        self.project = projection(width)

    def forward(self, initial_condition: Float[Tensor, "batch x"]) -> Float[Tensor, "batch x"]:
        """The field at the trained time, on the grid of the initial condition."""
        basis = periodic_basis(initial_condition.shape[1], self.num_modes, initial_condition)
        hidden = self.lift(initial_condition.unsqueeze(2))
        hidden = propagate(hidden, basis, self.spectral, self.pointwise)
        return torch.squeeze(self.project(hidden), 2)


class Fno2d(nn.Module):
    """Operator from a coefficient to a solution that vanishes on the boundary of the unit square.

    The solution is 16 x(1-x) y(1-y) times the network's field: the boundary condition holds
    exactly.

    Args:
        width: channels of the hidden fields.
        num_modes: (m1, m2) Fourier modes kept along y and x.
        num_layers: spectral layers.
        input_range: values of the coefficient that are mapped to -1 and 1.
        output_scale: typical size of the solution.
    """

    def __init__(
        self,
        width: int,
        num_modes: tuple[int, int],
        num_layers: int,
        *,
        input_range: tuple[float, float],
        output_scale: float,
    ) -> None:
        super().__init__()
        self.num_modes, self.output_scale = num_modes, output_scale
        self.center = (input_range[0] + input_range[1]) / 2
        self.half_width = (input_range[1] - input_range[0]) / 2
        self.lift = nn.Linear(4, width)
        self.spectral = nn.ModuleList(SpectralConv2d(width, num_modes) for _ in range(num_layers))
        self.pointwise = nn.ModuleList(nn.Linear(width, width) for _ in range(num_layers))
        self.project = projection(width)

    def forward(self, coefficient: Float[Tensor, "batch y x"]) -> Float[Tensor, "batch y x"]:
        """The solution at the nodes of the coefficient."""
        rows, columns = coefficient.shape[1:]
        basis = nodal_basis(rows, columns, self.num_modes, coefficient)
        position = _positions(rows, columns, coefficient)
        bubble = 16 * (position * (1 - position)).prod(dim=2)
        field = (coefficient - self.center) / self.half_width
        hidden = self.lift(_with_channels(field, position, bubble))
        hidden = propagate(hidden, basis, self.spectral, self.pointwise)
        return self.output_scale * bubble * torch.squeeze(self.project(hidden), 3)


class PeriodicFno2d(nn.Module):
    """Translation-equivariant operator between fields on a torus.

    Args:
        channels_in: components of the field it takes; several frames of a history are components.
        channels_out: components of the field it returns.
        width: channels of the hidden fields.
        num_modes: (m1, m2) Fourier modes kept along y and x; the grid needs 2 m1 by 2 m2 points.
        num_layers: spectral layers.
    """

    def __init__(
        self,
        channels_in: int = 1,
        channels_out: int = 1,
        width: int = 20,
        num_modes: tuple[int, int] = (8, 8),
        num_layers: int = 4,
    ) -> None:
        super().__init__()
        self.num_modes = num_modes
        self.lift = nn.Linear(channels_in, width)
        self.spectral = nn.ModuleList(SpectralConv2d(width, num_modes) for _ in range(num_layers))
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


def propagate(
    hidden: Float[Tensor, "batch *grid channel"],
    basis: Basis1d | Basis2d,
    spectral: nn.ModuleList,
    pointwise: nn.ModuleList,
) -> Float[Tensor, "batch *grid channel"]:
    """The layers v -> GELU(K v + W v) in sequence."""
    for convolution, matrix in zip(spectral, pointwise, strict=True):
        hidden = functional.gelu(convolution(hidden, basis) + matrix(hidden))
    return hidden


def projection(width: int, channels_out: int = 1) -> nn.Sequential:
    """Q: the hidden channels of each point to the components of the solution."""
    return nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, channels_out))


def _positions(rows: int, columns: int, like: Tensor) -> Float[Tensor, "y x 2"]:
    y = torch.arange(rows, dtype=like.dtype, device=like.device)
    x = torch.arange(columns, dtype=like.dtype, device=like.device)
    y, x = y / y[-1:], x / x[-1:]
    return torch.stack([y[:, None].expand(rows, columns), x.expand(rows, columns)], dim=2)


def _with_channels(
    field: Float[Tensor, "batch y x"],
    position: Float[Tensor, "y x 2"],
    bubble: Float[Tensor, "y x"],
) -> Float[Tensor, "batch y x 4"]:
    fixed = torch.cat([position, bubble.unsqueeze(2)], dim=2)
    fixed = fixed.unsqueeze(0).expand(field.shape[0], -1, -1, -1)
    return torch.cat([field.unsqueeze(3), fixed], dim=3)

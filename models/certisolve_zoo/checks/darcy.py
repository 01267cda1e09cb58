"""How far a pressure field is from solving the discrete equation of Darcy flow."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn


class DarcyResidual(nn.Module):
    """|f - A u| / |f| in the norm of H^-1, where A is the five-point matrix of `pdes.five_point`.

    The norm is |r|² = r' L^-1 r with the discrete Laplacian L, which is diagonal in sines. As
    min(a) L <= A <= max(a) L, it bounds the energy norm of the error against the solution on the
    same nodes from both sides, within a factor sqrt(max(a)/min(a)): a residual in L2 would weigh
    every wave by the square of its number instead and say little.

    Args:
        source: f, a constant.
    """

    def __init__(self, source: float = 1.0) -> None:
        super().__init__()
        self.source = source

    def forward(
        self, a: Float[Tensor, "batch y x"], u: Float[Tensor, "batch y x"]
    ) -> Float[Tensor, " batch"]:
        """The relative residual of each sample; u is taken as 0 on the boundary."""
        a, u = a.double(), u.double()
        inner = u[:, 1:-1, 1:-1]
        load = torch.full_like(inner, self.source) / (a.shape[1] - 1) ** 2
        residual = load - _product(a, inner)
        along_y, waves_y = _sines(a.shape[1], a)
        along_x, waves_x = _sines(a.shape[2], a)
        inverse = 1 / (waves_y[:, None] + waves_x[None, :])
        size, excess = ((along_y @ field @ along_x) for field in (load, residual))
        return _norm(excess, inverse) / _norm(size, inverse)


def _product(a: Tensor, inner: Tensor) -> Tensor:
    """h² times the operator, applied to values inside."""
    u = nn.functional.pad(inner, (1, 1, 1, 1))
    vertical = 0.5 * (a[:, 1:, 1:-1] + a[:, :-1, 1:-1]) * (u[:, 1:, 1:-1] - u[:, :-1, 1:-1])
    horizontal = 0.5 * (a[:, 1:-1, 1:] + a[:, 1:-1, :-1]) * (u[:, 1:-1, 1:] - u[:, 1:-1, :-1])
    down = vertical[:, 1:] - vertical[:, :-1]
    return -down - (horizontal[:, :, 1:] - horizontal[:, :, :-1])


def _sines(nodes: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """The orthonormal sines inside, and their eigenvalues of h² times the second difference."""
    index = torch.arange(1, nodes - 1, dtype=like.dtype, device=like.device)
    angles = index[:, None] * index[None, :] * (math.pi / (nodes - 1))
    waves = 2 - 2 * torch.cos(index * (math.pi / (nodes - 1)))
    return torch.sin(angles) * math.sqrt(2) / (nodes - 1) ** 0.5, waves


def _norm(waves: Tensor, inverse: Tensor) -> Tensor:
    return (waves.square() * inverse).sum(dim=(1, 2)).sqrt()

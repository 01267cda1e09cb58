"""The product A x of Poisson's equation with a variable coefficient, in torch."""

import torch
from jaxtyping import Float
from torch import Tensor, nn


class FiniteVolumes(nn.Module):
    """-∇·(a ∇x) on cells of the unit square, x = 0 on the boundary.

    The matrix is that of `pdes.finite_volumes`. In the dtype of its arguments; solvers use float64.
    """

    def forward(
        self, x: Float[Tensor, "batch y x"], a: Float[Tensor, "batch y x"]
    ) -> Float[Tensor, "batch y x"]:
        """A x.

        Args:
            x: values of cells.
            a: the coefficient, positive.
        """
        along_y = _second_difference(x, a)
        along_x = _second_difference(x.transpose(1, 2), a.transpose(1, 2)).transpose(1, 2)
        return along_y * x.shape[1] ** 2 + along_x * x.shape[2] ** 2


def _second_difference(x: Tensor, a: Tensor) -> Tensor:
    """Flux out of each cell along the first axis of the grid, of cells of size one."""
    inner = 2 * a[:, 1:] * a[:, :-1] / (a[:, 1:] + a[:, :-1])
    flux = inner * (x[:, 1:] - x[:, :-1])
    first, last = 2 * a[:, :1] * x[:, :1], -2 * a[:, -1:] * x[:, -1:]
    flux = torch.cat([first, flux, last], dim=1)
    return flux[:, :-1] - flux[:, 1:]

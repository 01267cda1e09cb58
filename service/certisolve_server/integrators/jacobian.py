"""Derivatives of a vector field by its state and by time."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import jvp, vmap

from .state import VectorField


def jacobian(
    field: VectorField, t: Float[Tensor, " batch"], y: Float[Tensor, "batch state"]
) -> tuple[Float[Tensor, "batch state state"], Float[Tensor, "batch state"]]:
    """df/dy and df/dt of every sample, exact, by forward mode.

    As rows do not know each other, one tangent per component serves the whole batch, and the field
    is called with the very batch it is made for.
    """
    batch, n = y.shape
    directions = torch.eye(n + 1, dtype=y.dtype, device=y.device)[:, None].expand(-1, batch, -1)

    def along(direction: Tensor) -> Tensor:
        tangent: Tensor = jvp(field, (t, y), (direction[:, n], direction[:, :n]))[1]
        return tangent

    columns = vmap(along)(directions)
    return columns[:n].permute(1, 2, 0), columns[n]

"""A neural vector field of two variables whose scales of time are known and given."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .field import VectorField


class TwoScaleField(nn.Module):
    """dx/dt = μ g_1(x, y), dy/dt = g_2(x, y) / μ with a perceptron g.

    What is known of a system, its scales, need not be learned: one g serves gentle and stiff
    parameters alike, and is trained where numbers are of order one.

    Args:
        field: g, of two components.
    """

    def __init__(self, field: VectorField) -> None:
        super().__init__()
        self.field = field

    def forward(
        self, y: Float[Tensor, "batch 2"], t: Float[Tensor, " batch"], mu: Float[Tensor, " batch"]
    ) -> Float[Tensor, "batch 2"]:
        """The time derivative of (x, y); the system knows no time."""
        del t
        learned = self.field(y)
        return torch.stack((mu * learned[:, 0], learned[:, 1] / mu), dim=1)

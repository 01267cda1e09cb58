"""A Kolmogorov-Arnold network in the coordinates in which pipe friction is smooth.

    1/√f = 8 + 2 κ(r, e),   r ~ ln Re,   e ~ ln(ε + ε₀),   both scaled to [-1, 1]

Colebrook's law bends where the roughness ε reaches through the viscous sublayer, at ε Re ~ 10:
over decades of both. ε₀ lets the smooth pipe, ε = 0, be the end of the logarithmic axis.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .network import Kan
from .range_check import SplineNetwork

Points = Float[Tensor, "batch point"]

REYNOLDS = (4e3, 1e8)
ROUGHNESS = (0.0, 0.05)
SMOOTHEST = 1e-7  # ε₀, a tenth of the roughness that is felt at the largest Re
OFFSET, SCALE = 8.0, 2.0  # 1/√f is between 3.7 and 13
# Limits of the inputs lie that far inside the grid box, so that no rounding leaves it.
MARGIN = 1e-5


class PipeCoordinates(nn.Module):
    """Logarithms of Reynolds number and roughness, with the limits of the inputs at ±1."""

    center: Tensor
    half_range: Tensor

    def __init__(self) -> None:
        super().__init__()
        lower = torch.tensor([math.log(REYNOLDS[0]), math.log(ROUGHNESS[0] + SMOOTHEST)])
        upper = torch.tensor([math.log(REYNOLDS[1]), math.log(ROUGHNESS[1] + SMOOTHEST)])
        self.register_buffer("center", (lower + upper) / 2)
        self.register_buffer("half_range", (1 + MARGIN) * (upper - lower) / 2)

    def forward(self, reynolds: Points, roughness: Points) -> tuple[Points, Points]:
        """The coordinates r and e of pipes."""
        r = (torch.log(reynolds) - self.center[0]) / self.half_range[0]
        e = (torch.log(roughness + SMOOTHEST) - self.center[1]) / self.half_range[1]
        return r, e

    def inverse(self, r: Points, e: Points) -> tuple[Points, Points]:
        """Reynolds number and roughness at r and e; at ±1 a little beyond the limits."""
        reynolds = torch.exp(self.center[0] + self.half_range[0] * r)
        roughness = torch.exp(self.center[1] + self.half_range[1] * e) - SMOOTHEST
        return reynolds, roughness


class FrictionKan(SplineNetwork):
    """Darcy's friction factor of turbulent flow in rough pipes.

    Args:
        kan: of two variables in [-1, 1]; its value is (1/√f - 8)/2.
    """

    def __init__(self, kan: Kan) -> None:
        super().__init__()
        self.coordinates = PipeCoordinates()
        self.kan = kan

    def forward(self, reynolds: Points, roughness: Points) -> Points:
        """The friction factor f at each point."""
        inverse_root = OFFSET + SCALE * self.kan(*self.coordinates(reynolds, roughness))
        return torch.reciprocal(inverse_root * inverse_root)

    def knot_excess(self, *inputs: Points) -> Float[Tensor, " batch"]:
        return self.kan.knot_excess(*self.coordinates(*inputs))

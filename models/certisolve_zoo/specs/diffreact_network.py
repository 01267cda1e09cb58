"""The network of `diffreact-multionet`: zero at the walls and at rest by construction.

    u(x, t) = t h(x/√(4Dt)) h((1-x)/√(4Dt)) G(f)(x, t)

h is the profile that a constant source leaves at a wall where u = 0. G, a MultiONet, is smooth up
to the corners, where u itself is not: there u = t f h but for terms of higher order.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from certisolve_zoo.operators.multionet import MultiOnet

NUM_COSINES = 8
# Beyond 6 the profile is 1 in float64, and what it is made of does not overflow.
_FAR = 6.0
_TINY = 1e-12


class WallBoundedMultiOnet(nn.Module):
    """The field u at free points, from a source at the nodes i/(N - 1).

    Args:
        num_sensors: N, of the source.
        diffusivity: D.
        width: channels of the layers of branch and trunk.
        num_layers: of each.
    """

    cosines: Tensor
    wavenumbers: Tensor

    def __init__(self, num_sensors: int, diffusivity: float, width: int, num_layers: int) -> None:
        super().__init__()
        self.diffusivity = diffusivity
        self.operator = MultiOnet((num_sensors,), 4 + NUM_COSINES, width, num_layers)
        # Kept with the weights: constants of a graph would be stored as pickles.
        wavenumbers = torch.arange(1, NUM_COSINES + 1, dtype=torch.float32)
        self.register_buffer("wavenumbers", wavenumbers)
        self.register_buffer("cosines", _cosine_transform(num_sensors))

    def forward(
        self,
        source: Float[Tensor, "batch sensor"],
        x: Float[Tensor, "batch point"],
        t: Float[Tensor, "batch point"],
    ) -> Float[Tensor, "batch point"]:
        """The field at the points of each sample."""
        query, envelope = self._query(x, t)
        return torch.mul(envelope, self.operator(source @ self.cosines, query))

    def at_shared_points(
        self,
        source: Float[Tensor, "batch sensor"],
        x: Float[Tensor, " point"],
        t: Float[Tensor, " point"],
    ) -> Float[Tensor, "batch point"]:
        """The field where all samples have the same points: the trunk runs once."""
        query, envelope = self._query(x, t)
        terms = torch.cat(self.operator.trunk.hidden(query), dim=-1)
        sums = self.operator.coefficients(source @ self.cosines) @ terms.T
        return envelope * (sums / len(self.operator.trunk.layers) + self.operator.bias)

    def _query(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        thickness = torch.sqrt(4 * self.diffusivity * t + _TINY)
        left, right = wall_profile(x / thickness), wall_profile((1 - x) / thickness)
        angles = x.unsqueeze(-1) * self.wavenumbers * math.pi
        features = torch.stack((2 * x - 1, 2 * t - 1, left, right), dim=-1)
        return torch.cat((features, torch.cos(angles)), dim=-1), t * left * right


def wall_profile(distance: Float[Tensor, "*point"]) -> Float[Tensor, "*point"]:
    """h(η) = 1 - (1 + 2η²) erfc η + 2η exp(-η²)/√π.

    u = t h(x/√(4Dt)) solves u_t = D u_xx + 1 for x > 0 from rest, with u = 0 at x = 0 (Carslaw and
    Jaeger, "Conduction of Heat in Solids", 1959, section 2.9).
    """
    near = distance.clamp(max=_FAR)
    outside = 1 - torch.erf(near)
    return 1 - (1 + 2 * near**2) * outside + 2 / math.sqrt(math.pi) * near * torch.exp(-(near**2))


def _cosine_transform(num_nodes: int) -> Float[Tensor, "node wavenumber"]:
    """Turns nodal values into amplitudes of cos πkx, times 2: invertible, nothing is cut off.

    Neighbouring sensors see almost the same, amplitudes are nearly independent, which suits Adam.
    """
    node = torch.arange(num_nodes, dtype=torch.float64)
    matrix = torch.cos(torch.pi * node[:, None] * node / (num_nodes - 1)) * 4 / (num_nodes - 1)
    matrix[0] /= 2
    matrix[-1] /= 2
    return matrix.float()

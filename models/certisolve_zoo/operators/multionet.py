"""MultiONet (Zang and Koutsourelakis, "DGenNO", 2025): every layer of branch and trunk is paired.

    G(v)(y) = 1/L Σ_l Σ_k b_{lk}(v) t_{lk}(y) + c

A DeepONet pairs the last layers alone. The pairs add expressiveness and no parameters. Several
input functions enter as the product of their branches, layer by layer (Jin et al., "MIONet", 2022).
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .perceptron import Perceptron


class MultiOnet(nn.Module):
    """A scalar field at free points, from functions seen at sensors.

    Args:
        num_sensors: of each input function; a branch is made for each.
        num_coordinates: of a query point.
        width: channels of the layers of branches and trunk, and terms of the sum over k.
        num_layers: L layers of each.
    """

    def __init__(
        self,
        num_sensors: tuple[int, ...],
        num_coordinates: int = 1,
        width: int = 64,
        num_layers: int = 4,
    ) -> None:
        super().__init__()
        layers = (width,) * num_layers
        self.branches = nn.ModuleList(Perceptron((sensors, *layers)) for sensors in num_sensors)
        self.trunk = Perceptron((num_coordinates, *layers))
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(
        self, *inputs: Float[Tensor, "batch sensor"] | Float[Tensor, "batch point coordinate"]
    ) -> Float[Tensor, "batch point"]:
        """The field at the query points, which follow the input functions."""
        *functions, query = inputs
        return self.evaluate(self.coefficients(*functions), query)

    def coefficients(
        self, *functions: Float[Tensor, "batch sensor"]
    ) -> Float[Tensor, "batch term"]:
        """What the input functions contribute, layer after layer."""
        product = self._layers(self.branches[0], functions[0])
        for branch, function in zip(self.branches[1:], functions[1:], strict=True):
            product = product * self._layers(branch, function)
        return product

    def evaluate(
        self,
        coefficients: Float[Tensor, "batch term"],
        query: Float[Tensor, "batch point coordinate"],
    ) -> Float[Tensor, "batch point"]:
        """The field of these coefficients at the query points."""
        terms = self._layers(self.trunk, query)
        sums = torch.squeeze(torch.matmul(terms, coefficients.unsqueeze(2)), 2)
        return sums / len(self.trunk.layers) + self.bias

    def _layers(self, network: nn.Module, x: Tensor) -> Tensor:
        assert isinstance(network, Perceptron)
        return torch.cat(network.hidden(x), dim=-1)

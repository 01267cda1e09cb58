"""Deep operator networks (Lu et al., 2021), with several input functions (Jin et al., 2022).

    G(v_1, ..., v_n)(y) = Σ_k Π_i b_{ik}(v_i) t_k(y) + c

A branch b_i sees its function at fixed sensors, the trunk t sees one query point: points may lie
anywhere, in any number and order.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .perceptron import Perceptron


class DeepOnet(nn.Module):
    """A scalar field at free points, from functions seen at sensors.

    Args:
        num_sensors: of each input function; a branch is made for each.
        num_coordinates: of a query point.
        width: channels of the hidden layers of branches and trunk.
        num_layers: hidden layers of each.
        num_bases: terms of the sum over k.
    """

    def __init__(
        self,
        num_sensors: tuple[int, ...],
        num_coordinates: int = 1,
        width: int = 64,
        num_layers: int = 3,
        num_bases: int = 64,
    ) -> None:
        super().__init__()
        tail = (width,) * num_layers + (num_bases,)
        self.branches = nn.ModuleList(Perceptron((sensors, *tail)) for sensors in num_sensors)
        self.trunk = Perceptron((num_coordinates, *tail))
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(
        self, *inputs: Float[Tensor, "batch sensor"] | Float[Tensor, "batch point coordinate"]
    ) -> Float[Tensor, "batch point"]:
        """The field at the query points, which follow the input functions."""
        *functions, query = inputs
        return self.evaluate(self.coefficients(*functions), query)

    def coefficients(
        self, *functions: Float[Tensor, "batch sensor"]
    ) -> Float[Tensor, "batch basis"]:
        """What the input functions contribute: the same for all query points."""
        product = torch.as_tensor(self.branches[0](functions[0]))
        for branch, function in zip(self.branches[1:], functions[1:], strict=True):
            product = product * branch(function)
        return product

    def evaluate(
        self,
        coefficients: Float[Tensor, "batch basis"],
        query: Float[Tensor, "batch point coordinate"],
    ) -> Float[Tensor, "batch point"]:
        """The field of these coefficients at the query points."""
        sums = torch.matmul(self.trunk(query), coefficients.unsqueeze(2))
        return torch.squeeze(sums, 2) + self.bias

"""Neural ordinary differential equations (Chen et al., 2018): x' = f(x), f a perceptron.

The vector field is the model. It is exported alone; whoever integrates it chooses method and steps.
"""

import itertools

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional


class VectorField(nn.Module):
    """An autonomous vector field, x' = W_d σ(... σ(W_1 x)) with σ = tanh or ReLU.

    Args:
        num_states: components of x.
        hidden: widths of the hidden layers.
        smooth: tanh, which high-order integrators need; ReLU otherwise.
        sizes: of the components of x; initial weights are divided by them, so that no component
            saturates the first layer.
        by_row: whether each row is multiplied by itself. Matrix products give a row other roundings
            in another batch, and an integration then takes other steps.
    """

    def __init__(
        self,
        num_states: int,
        hidden: tuple[int, ...] = (50,),
        *,
        smooth: bool = True,
        sizes: tuple[float, ...] | None = None,
        by_row: bool = False,
    ) -> None:
        super().__init__()
        widths = (num_states, *hidden, num_states)
        self.smooth = smooth
        self.by_row = by_row
        layers = [nn.Linear(*pair) for pair in itertools.pairwise(widths)]
        if sizes is not None:
            with torch.no_grad():
                layers[0].weight /= torch.tensor(sizes)
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Float[Tensor, "batch state"]) -> Float[Tensor, "batch state"]:
        """The time derivative at x."""
        first, *others = self.layers
        derivative = self._affine(first, x)
        for layer in others:
            activated = torch.tanh(derivative) if self.smooth else functional.relu(derivative)
            derivative = self._affine(layer, activated)
        return derivative

    def _affine(self, layer: nn.Module, x: Tensor) -> Tensor:
        if not self.by_row:
            return torch.as_tensor(layer(x))
        assert isinstance(layer, nn.Linear)
        return (x[:, None] * layer.weight).sum(dim=-1) + layer.bias

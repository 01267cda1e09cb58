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
    """

    def __init__(
        self,
        num_states: int,
        hidden: tuple[int, ...] = (50,),
        *,
        smooth: bool = True,
        sizes: tuple[float, ...] | None = None,
    ) -> None:
        super().__init__()
        widths = (num_states, *hidden, num_states)
        self.smooth = smooth
        layers = [nn.Linear(*pair) for pair in itertools.pairwise(widths)]
        if sizes is not None:
            with torch.no_grad():
                layers[0].weight /= torch.tensor(sizes)
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Float[Tensor, "batch state"]) -> Float[Tensor, "batch state"]:
        """The time derivative at x."""
        derivative = torch.as_tensor(self.layers[0](x))
        for layer in self.layers[1:]:
            activated = torch.tanh(derivative) if self.smooth else functional.relu(derivative)
            derivative = layer(activated)
        return derivative

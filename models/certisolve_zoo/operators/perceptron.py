"""Perceptrons: matrices and smooth activations in turn, on the last axis."""

import itertools

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional


class Perceptron(nn.Module):
    """x -> W_d GELU(... GELU(W_1 x)).

    Args:
        widths: channels of input, hidden layers and output.
    """

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(*pair) for pair in itertools.pairwise(widths))

    def forward(self, x: Float[Tensor, "*sample channel"]) -> Float[Tensor, "*sample channel_out"]:
        """The last layer, without activation."""
        return self.hidden(x)[-1]

    def hidden(self, x: Float[Tensor, "*sample channel"]) -> list[Float[Tensor, "*sample width"]]:
        """What every layer gives; activations lie between them, none follows the last."""
        outputs = [torch.as_tensor(self.layers[0](x))]
        for layer in self.layers[1:]:
            outputs.append(layer(functional.gelu(outputs[-1])))
        return outputs

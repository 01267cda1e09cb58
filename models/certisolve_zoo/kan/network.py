"""Kolmogorov-Arnold layers and networks (Liu et al., "KAN: Kolmogorov-Arnold Networks", 2024).

    y_j = Σ_i φ_ji(x_i),   φ_ji(x) = w_ji silu(x) + Σ_n c_jin B_n(x)

Each basis is evaluated once per input and all edges of a layer are one matrix product.
"""

import itertools
from collections.abc import Iterable
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from .range_check import SplineNetwork
from .splines import DEGREE, bspline_bases, fit_coefficients, uniform_knots

SAMPLES_PER_INTERVAL = 20


class KanLayer(nn.Module):
    """Splines on all edges between two layers.

    Args:
        channels_in: inputs of the layer.
        channels_out: sums it returns.
        num_intervals: G, grid intervals of every spline.
        lower: left end of the grid box, for all inputs.
        upper: right end.
    """

    knots: Tensor

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        num_intervals: int,
        lower: float = -1.0,
        upper: float = 1.0,
    ) -> None:
        super().__init__()
        ends = torch.full((channels_in,), lower), torch.full((channels_in,), upper)
        self.register_buffer("knots", uniform_knots(*ends, num_intervals))
        self.base = nn.Parameter(torch.randn(channels_in, channels_out) / channels_in**0.5)
        num_bases = num_intervals + DEGREE
        self.coefficients = nn.Parameter(0.1 * torch.randn(channels_in, num_bases, channels_out))

    @property
    def box(self) -> tuple[Float[Tensor, " channel"], Float[Tensor, " channel"]]:
        """Ends of the interval on which each input's splines are complete."""
        return self.knots[:, DEGREE], self.knots[:, -DEGREE - 1]

    def forward(self, x: Float[Tensor, "sample channel_in"]) -> Float[Tensor, "sample channel_out"]:
        """The sums over the incoming edges."""
        bases = bspline_bases(x, self.knots).flatten(1)
        splines = torch.mm(bases, self.coefficients.flatten(0, 1))
        return torch.addmm(splines, functional.silu(x), self.base)

    def edge_values(
        self, x: Float[Tensor, "sample channel_in"]
    ) -> Float[Tensor, "sample channel_in channel_out"]:
        """Every edge by itself, φ_ji(x_i); their sums over i are what the layer returns."""
        splines = torch.einsum("sib,ibo->sio", bspline_bases(x, self.knots), self.coefficients)
        return torch.addcmul(splines, functional.silu(x).unsqueeze(2), self.base)

    def regrid(
        self,
        num_intervals: int,
        lower: Float[Tensor, " channel"],
        upper: Float[Tensor, " channel"],
    ) -> "KanLayer":
        """The same edge functions on another grid by least squares, exactly if it is nested."""
        channels_in, channels_out = self.base.shape
        layer = KanLayer(channels_in, channels_out, num_intervals).to(self.base.dtype)
        with torch.no_grad():
            layer.knots.copy_(uniform_knots(lower, upper, num_intervals))
            fractions = torch.linspace(
                0, 1, SAMPLES_PER_INTERVAL * num_intervals, dtype=lower.dtype
            )
            x = lower + fractions[:, None] * (upper - lower)
            values = torch.einsum("sib,ibo->sio", bspline_bases(x, self.knots), self.coefficients)
            layer.coefficients.copy_(fit_coefficients(x, values, layer.knots))
            layer.base.copy_(self.base)
        return layer


class Kan(SplineNetwork):
    """Layers in sequence, for a scalar function of several variables.

    Args:
        widths: channels of input, hidden layers and output; the last is 1.
        num_intervals: grid intervals of every spline.
    """

    def __init__(self, widths: tuple[int, ...], num_intervals: int) -> None:
        super().__init__()
        pairs = itertools.pairwise(widths)
        self.layers = nn.ModuleList(KanLayer(*pair, num_intervals) for pair in pairs)

    def forward(self, *variables: Float[Tensor, "batch point"]) -> Float[Tensor, "batch point"]:
        """The function at each point."""
        hidden = torch.stack(variables, dim=2).flatten(0, 1)
        for layer in self.layers:
            hidden = layer(hidden)
        return hidden.reshape(variables[0].shape)

    def refined(
        self, num_intervals: int, *variables: Float[Tensor, "batch point"], margin: float = 0.1
    ) -> "Kan":
        """The same function on finer grids, those of hidden layers fitted to their activations.

        Args:
            num_intervals: of the finer grids.
            variables: points that cover the domain.
            margin: how far a hidden box exceeds the activations, as a fraction of their range.
        """
        network = Kan((1,), num_intervals)
        hidden = torch.stack(variables, dim=2).flatten(0, 1)
        for index, layer in enumerate(self.edges()):
            lower, upper = layer.box if index == 0 else _widened(hidden.detach(), margin)
            network.layers.append(layer.regrid(num_intervals, lower, upper))
            hidden = layer(hidden)
        return network

    def knot_excess(self, *variables: Float[Tensor, "batch point"]) -> Float[Tensor, " batch"]:
        hidden = torch.stack(variables, dim=2).flatten(0, 1)
        worst = []
        for layer in self.edges():
            lower, upper = layer.box
            outside = torch.maximum(lower - hidden, hidden - upper) / (upper - lower)
            worst.append(outside.amax(dim=1))
            hidden = layer(hidden)
        return torch.stack(worst).amax(dim=0).reshape(variables[0].shape).amax(dim=1)

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of input, hidden layers and output."""
        shapes = [tuple(layer.base.shape) for layer in self.edges()]
        return (shapes[0][0], *(columns for _, columns in shapes))

    def edges(self) -> list[KanLayer]:
        """The layers from the inputs to the output."""
        return list(cast("Iterable[KanLayer]", self.layers))


def _widened(activations: Tensor, margin: float) -> tuple[Tensor, Tensor]:
    lower, upper = activations.min(dim=0).values, activations.max(dim=0).values
    slack = margin * (upper - lower)
    return lower - slack, upper + slack

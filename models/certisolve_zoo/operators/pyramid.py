"""The pyramid of grids that U-shaped networks share, channels first.

From level to level the grid is halved and the channels are doubled. On the way back what was found
on a grid stands beside what comes up from the coarser one.
"""

import itertools

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .convolution import Boundary, convolution, prolongation

GROUPS = 4


class Pyramid(nn.Module):
    """Stencils on several grids, down and up again.

    Args:
        channels_in: of the field that enters.
        widths: channels on each grid, from the finest; multiples of 4.
        boundary: how stencils see the field beyond the edge.
    """

    def __init__(self, channels_in: int, widths: tuple[int, ...], boundary: Boundary) -> None:
        super().__init__()
        pairs = list(itertools.pairwise(widths))
        self.enter = _Stencils(channels_in, widths[0], boundary)
        self.restrict = nn.AvgPool2d(2)
        self.down = nn.ModuleList(_Stencils(fine, coarse, boundary) for fine, coarse in pairs)
        self.prolong = nn.ModuleList(prolongation(coarse, fine) for fine, coarse in pairs)
        self.up = nn.ModuleList(_Stencils(2 * fine, fine, boundary) for fine, _ in pairs)

    def descend(
        self, field: Float[Tensor, "batch channel_in y x"]
    ) -> list[Float[Tensor, "batch channel y x"]]:
        """A field on every grid, from the finest."""
        levels = [torch.as_tensor(self.enter(field))]
        for down in self.down:
            levels.append(down(self.restrict(levels[-1])))
        return levels

    def ascend(
        self, levels: list[Float[Tensor, "batch channel y x"]]
    ) -> Float[Tensor, "batch channel y x"]:
        """The fields of all grids, brought together on the finest."""
        *finer, hidden = levels
        ways = zip(reversed(finer), reversed(self.prolong), reversed(self.up), strict=True)
        for level, prolong, up in ways:
            hidden = up(torch.cat([level, prolong(hidden)], dim=1))
        return hidden


class _Stencils(nn.Module):
    """Two stencils, each normalised over groups of channels of one sample, and activated."""

    def __init__(self, channels_in: int, channels_out: int, boundary: Boundary) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            convolution(channels_in, channels_out, boundary),
            nn.GroupNorm(GROUPS, channels_out),
            nn.GELU(),
            convolution(channels_out, channels_out, boundary),
            nn.GroupNorm(GROUPS, channels_out),
            nn.GELU(),
        )

    def forward(
        self, hidden: Float[Tensor, "batch channel_in y x"]
    ) -> Float[Tensor, "batch channel_out y x"]:
        return torch.as_tensor(self.layers(hidden))

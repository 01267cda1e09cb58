"""Convolutions on cell grids with a boundary condition, channels first."""

from typing import Literal

from torch import nn

#: Of a field outside its grid: its other end, zero, or its mirror image.
Boundary = Literal["periodic", "zero", "reflect"]
_PADDING: dict[Boundary, Literal["circular", "zeros", "reflect"]] = {
    "periodic": "circular",
    "zero": "zeros",
    "reflect": "reflect",
}


def convolution(
    channels_in: int,
    channels_out: int,
    boundary: Boundary,
    *,
    stride: int = 1,
    bias: bool = True,
) -> nn.Conv2d:
    """A 3x3 stencil. A stride of 2 halves a grid of even size."""
    return nn.Conv2d(
        channels_in,
        channels_out,
        kernel_size=3,
        stride=stride,
        padding=1,
        bias=bias,
        padding_mode=_PADDING[boundary],
    )


def prolongation(channels_in: int, channels_out: int, *, bias: bool = True) -> nn.ConvTranspose2d:
    """Each cell becomes a block of 2x2, at every boundary."""
    return nn.ConvTranspose2d(channels_in, channels_out, kernel_size=2, stride=2, bias=bias)

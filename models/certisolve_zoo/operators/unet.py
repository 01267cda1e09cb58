"""U-Nets (Ronneberger et al., 2015), channels last."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .convolution import Boundary
from .pyramid import Pyramid


class Unet2d(nn.Module):
    """An operator between fields on a rectangle.

    Args:
        channels_in: components of the field it takes.
        channels_out: components of the field it returns.
        width: channels on the finest grid, a multiple of 4.
        num_levels: grids; sizes must be multiples of 2 to the power of `num_levels - 1`.
        boundary: how stencils see the field beyond the edge.
    """

    def __init__(
        self,
        channels_in: int = 1,
        channels_out: int = 1,
        width: int = 16,
        num_levels: int = 4,
        boundary: Boundary = "periodic",
    ) -> None:
        super().__init__()
        widths = tuple(width * 2**level for level in range(num_levels))
        self.pyramid = Pyramid(channels_in, widths, boundary)
        self.leave = nn.Linear(width, channels_out)

    def forward(
        self, field: Float[Tensor, "batch y x channel_in"]
    ) -> Float[Tensor, "batch y x channel_out"]:
        """The solution on the same grid."""
        hidden = self.pyramid.ascend(self.pyramid.descend(field.permute(0, 3, 1, 2)))
        return torch.as_tensor(self.leave(hidden.permute(0, 2, 3, 1)))

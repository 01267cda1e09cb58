"""How far an answer is from keeping the mean of a field."""

import torch
from jaxtyping import Float
from torch import Tensor, nn


class MeanConservation(nn.Module):
    """|mean(u) - mean(u0)| / rms(u), the largest over the frames; for periodic grids.

    Args:
        frames: whether u has an axis of time in front of the grid.
    """

    def __init__(self, *, frames: bool = False) -> None:
        super().__init__()
        self.frames = frames

    def forward(
        self, u0: Float[Tensor, "batch ..."], u: Float[Tensor, "batch ..."]
    ) -> Float[Tensor, " batch"]:
        """The relative defect of each sample."""
        start = u0.double().flatten(1).mean(dim=1, keepdim=True)
        values = u.double() if self.frames else u.double().unsqueeze(1)
        values = values.flatten(2)
        defect = (values.mean(dim=2) - start).abs()
        size = values.square().mean(dim=2).sqrt().clamp_min(torch.finfo(torch.float64).tiny)
        return (defect / size).amax(dim=1)

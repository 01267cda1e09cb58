"""Which parts of the box around a ball are proven to have no point in it."""

import torch
from torch import Tensor

from certisolve_server.certifier.arithmetic.norms import Norm
from certisolve_server.certifier.arithmetic.rounding import down
from certisolve_server.certifier.graph.node import Graph
from certisolve_server.certifier.region import Ball, Region

#: Of a sum of squares or sizes of at most 2^10 entries, relative, and of a root.
_ROUNDINGS = 2.0**-40


class Outside:
    """Of boxes, whether none of their points counts.

    Args:
        region: that counts.
        graph: whose inputs it is of.
    """

    def __init__(self, region: Region, graph: Graph) -> None:
        self._ball = region if isinstance(region, Ball) and region.norm != "linf" else None
        if self._ball is not None:
            center = self._ball.center
            self._center = torch.cat(
                [center[each.name].flatten().double() for each in graph.inputs]
            )

    @property
    def is_curved(self) -> bool:
        """Whether the region has other sides than those of its box."""
        return self._ball is not None

    def __call__(self, lower: Tensor, upper: Tensor) -> Tensor:
        """(boxes,) of the ends (boxes, inputs)."""
        if self._ball is None:
            return torch.zeros(len(lower), dtype=torch.bool)
        nearest = torch.maximum(lower - self._center, self._center - upper)
        distances = down(nearest).clamp(min=0.0)
        return _length(distances, self._ball.norm) * (1.0 - _ROUNDINGS) > self._ball.radius

    def holds(self, points: Tensor) -> Tensor:
        """Whether points (boxes, inputs) of the box are about in the region; not proven."""
        if self._ball is None:
            return torch.ones(len(points), dtype=torch.bool)
        return _length((points - self._center).abs(), self._ball.norm) <= self._ball.radius


def _length(distances: Tensor, norm: Norm) -> Tensor:
    """Up to `_ROUNDINGS`; what underflows makes it less."""
    if norm == "l1":
        return distances.sum(-1)
    return (distances * distances).sum(-1).sqrt()

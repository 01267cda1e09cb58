"""Parts of all of the space: second-order enclosures where a box is finite, else intervals."""

import torch
from torch import Tensor

from .bounding import Bounding, Parts, joined, of_each
from .by_intervals import ByIntervals
from .by_taylor import ByTaylor


class ByBoth:
    """Bounds each box in the way that is made for it.

    Args:
        finite: of finite boxes.
        endless: of all others.
    """

    def __init__(self, finite: ByTaylor, endless: ByIntervals) -> None:
        self._finite, self._endless = finite, endless
        self.whole, self.batch = finite.whole, finite.batch

    def bound(self, lower: Tensor, upper: Tensor) -> Parts:
        is_finite = (lower.isfinite() & upper.isfinite()).all(1)
        ways: tuple[tuple[Bounding, Tensor], ...] = (
            (self._finite, is_finite.nonzero()[:, 0]),
            (self._endless, (~is_finite).nonzero()[:, 0]),
        )
        pieces, places = [], []
        for way, rows in ways:
            for some in torch.split(rows, way.batch):
                if len(some):
                    pieces.append(way.bound(lower[some], upper[some]))
                    places.append(some)
        order = torch.cat(places).argsort()
        return of_each(joined(pieces), lambda values: values[order])

    def jacobian(self, point: Tensor) -> Tensor:
        """At a finite point."""
        return self._finite.jacobian(point)

    def beyond_faces(self, lower: Tensor, upper: Tensor, face: Tensor) -> Tensor:
        """Nothing is proven of faces: all of space has none."""
        return self._endless.beyond_faces(lower, upper, face)

"""Parts bounded by second-order enclosures: of small smooth graphs, thousands at a time.

Where the norm is the largest of lengths g of slopes (see `taylor.bounds`), boxes in which g only
grows or only falls along an input need not be looked at: at a point of such a box g is not largest
over the region, unless nothing of the region lies further along that input; then it is enough to
look at the face there (the monotonicity test: Hansen and Walster, Global Optimization Using
Interval Analysis, 2004, section 12.4). That needs a region whose sides are those of its box.
"""

import torch
from torch import Tensor

from certisolve_server.certifier.domain import Boxes
from certisolve_server.certifier.norms import Norms
from certisolve_server.certifier.taylor import Enclosed, Tape, enclose
from certisolve_server.certifier.taylor.ball import ROUNDINGS
from certisolve_server.certifier.taylor.bounds import Lengths, bound

from .bounding import Parts
from .outside import Outside

#: Quantities of one step, on all boxes together: what fits into a cache.
_NUMBERS = 1 << 17
_MAX_BATCH = 1024


class ByTaylor:
    """Bounds of a tape.

    Args:
        tape: of the map.
        box: one, finite, that is cut.
        norms: of its slopes.
        outside: tells which parts do not count.
    """

    def __init__(self, tape: Tape, box: Boxes, norms: Norms, outside: Outside) -> None:
        self._tape, self._norms, self._outside = tape, norms, outside
        flat = box.flat()
        self.whole = flat.lower[0], flat.upper[0]
        d = tape.inputs
        numbers = tape.widest * (2 + 2 * d + d * (d + 1) // 2)
        self.batch = max(16, min(_MAX_BATCH, _NUMBERS // numbers))

    def bound(self, lower: Tensor, upper: Tensor) -> Parts:
        found, lengths = self._lengths(lower, upper)
        outside = self._outside(lower, upper)
        bounds = self._without_what_grows(lengths, lower, upper)
        bounds = torch.where(outside, 0.0, bounds)
        face, rest = self._face(lengths, bounds, lower, upper)
        scores = _scores(lengths, bounds, found.smear.mT)
        seen = torch.where(self._outside.holds(0.5 * lower + 0.5 * upper), lengths.seen, 0.0)
        return Parts(bounds.amax(0), seen, scores, face, rest)

    def beyond_faces(self, lower: Tensor, upper: Tensor, face: Tensor) -> Tensor:
        _, lengths = self._lengths(lower, upper)
        bounds = self._without_what_grows(lengths, lower, upper)
        return _rest(lengths, bounds, face)

    def jacobian(self, point: Tensor) -> Tensor:
        """About that of the map at a point (inputs,): (outputs, inputs)."""
        column = point.unsqueeze(1)
        return enclose(self._tape, column, torch.zeros_like(column)).at_center.center[:, :, 0]

    def _lengths(self, lower: Tensor, upper: Tensor) -> tuple[Enclosed, Lengths]:
        center = (0.5 * lower + 0.5 * upper).mT.contiguous()
        radius = torch.maximum(upper.mT - center, center - lower.mT) * (1.0 + ROUNDINGS)
        found = enclose(self._tape, center, radius)
        return found, bound(found, radius, self._norms)

    def _without_what_grows(self, lengths: Lengths, lower: Tensor, upper: Tensor) -> Tensor:
        """(lengths, boxes): 0 for what grows towards more of the region."""
        if self._outside.is_curved:
            return lengths.upper
        low, high = (end.unsqueeze(1) for end in self.whole)
        towards_more = ((lengths.trends > 0) & (upper.mT < high)) | (
            (lengths.trends < 0) & (lower.mT > low)
        )
        return torch.where(towards_more.any(1), 0.0, lengths.upper)

    def _face(
        self, lengths: Lengths, bounds: Tensor, lower: Tensor, upper: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The face that the largest length grows to, of the input of the highest score; or -1."""
        nowhere = torch.full((len(lower),), -1)
        if self._outside.is_curved:
            return nowhere, torch.zeros(len(lower), dtype=torch.float64)
        largest = bounds.argmax(0)
        trend = lengths.trends.gather(0, _rows(largest, lengths.trends))[0]
        wide = (upper > lower).mT & (trend != 0)
        axis = torch.where(wide, (upper - lower).mT, -1.0).argmax(0)
        grows = trend.gather(0, axis.unsqueeze(0))[0] > 0
        face = torch.where(wide.any(0), 2 * axis + grows.long(), nowhere)
        return face, _rest(lengths, bounds, face)


def _scores(lengths: Lengths, bounds: Tensor, smear: Tensor) -> Tensor:
    """(boxes, inputs): by second derivatives; where they say nothing, by slopes."""
    bend = lengths.bend.gather(0, _rows(bounds.argmax(0), lengths.bend))[0].mT
    is_bounded = bounds.amax(0).isfinite().unsqueeze(1)
    tells = (bend > 0).any(1, keepdim=True) & bend.isfinite().all(1, keepdim=True)
    return torch.where(tells & is_bounded, bend, smear)


def _rest(lengths: Lengths, bounds: Tensor, face: Tensor) -> Tensor:
    """The bounds of lengths that are not proven to grow towards the face."""
    direction = torch.where(face % 2 == 1, 1.0, -1.0)
    axis = (face // 2).clamp(min=0)
    index = axis.expand(lengths.trends.shape[0], 1, -1)
    trends = lengths.trends.gather(1, index)[:, 0]
    return torch.where(trends == direction, 0.0, bounds).amax(0)


def _rows(chosen: Tensor, of: Tensor) -> Tensor:
    """The index that gathers one row per box of (rows, inputs, boxes)."""
    return chosen.expand(1, of.shape[1], -1)

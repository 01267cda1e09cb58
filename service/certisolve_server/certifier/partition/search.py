"""Best first: the boxes of the largest bounds are cut, many at a time."""

import sys
from dataclasses import dataclass

import torch
from torch import Tensor

from .bounding import Bounding, at_once_or_in_halves, joined, middles, of_each, unbounded
from .tree import LEAF, children, encode

#: At first few boxes are cut at a time, then more: choices made early are made of little.
_FIRST_BATCH = 8

#: Fewer boxes are not bounded at a time, where they can be cut.
_AT_ONCE = 128


class Search:
    """All boxes so far, and what was done to each.

    Args:
        bounding: of the box that is cut.
        errors: that say that a box has no bound.
        most_cuts: after which none is cut any more.
    """

    def __init__(
        self,
        bounding: Bounding,
        errors: tuple[type[Exception], ...],
        most_cuts: int = sys.maxsize,
    ) -> None:
        self._bounding, self._errors, self._most_cuts = bounding, errors, most_cuts
        root = _Boxes(torch.zeros(1, dtype=torch.long), *(e.unsqueeze(0) for e in bounding.whole))
        self._codes = [torch.full((1,), LEAF)]
        self._first_child = [torch.zeros(1, dtype=torch.long)]
        self._count, self._rest, self.seen, self.cuts = 1, 0.0, 0.0, 0
        self._batch, self._at_once = _FIRST_BATCH, min(_AT_ONCE, bounding.batch)
        self._numbers, self._lower, self._upper = root.numbers[:0], root.lower[:0], root.upper[:0]
        self._parts = unbounded(self._lower, self._upper)
        #: Where slopes are the largest of those that were seen, at the centre of a box.
        self.steepest: Tensor | None = None
        self._add(root)

    @property
    def bound(self) -> float:
        """On all of the box; inf without one."""
        largest = max(self._rest, float(self._parts.upper.amax()) if len(self._numbers) else 0.0)
        return largest if largest < torch.inf else torch.inf

    def levels(self) -> list[str]:
        """The tree so far, as text."""
        codes, first = torch.cat(self._codes), torch.cat(self._first_child)
        numbers, levels = torch.zeros(1, dtype=torch.long), []
        while len(numbers):
            level = codes[numbers]
            levels.append(level)
            inner = level >= 0
            counts = torch.where(level[inner] % 3 == 0, 2, 1)
            start = first[numbers[inner]].repeat_interleave(counts)
            second = torch.zeros_like(start)
            second[1:] = (start[1:] == start[:-1]).long()
            numbers = start + second
        return encode(levels)

    def advance(self, lower: float) -> bool:
        """Cuts the boxes of the largest bounds; false where no cut can make the bound less.

        Args:
            lower: proven from below; boxes of a bound below it are let be.
        """
        chosen = self._chosen(max(lower, self._rest))[: self._most_cuts - self.cuts]
        if not len(chosen):
            return False
        codes = self._action(chosen)
        is_face = codes % 3 > 0
        if bool(is_face.any()):
            self._rest = max(self._rest, float(self._parts.rest[chosen][is_face].amax()))
        parents = _Boxes(self._numbers[chosen], self._lower[chosen], self._upper[chosen])
        scores = self._parts.scores[chosen].nan_to_num(0.0)
        self._drop(chosen)
        self._add(self._cut(parents, codes, scores))
        self._batch = min(2 * self._batch, self._bounding.batch)
        return True

    def _cut(self, boxes: "_Boxes", codes: Tensor, scores: Tensor) -> "_Boxes":
        """What boxes come to; cut on while they are few, as many cost no more to bound."""
        while True:
            parent = self._record(boxes.numbers, codes)
            numbers = torch.arange(self._count - len(parent), self._count)
            boxes = _Boxes(numbers, *children(boxes.lower, boxes.upper, codes))
            divisible = _divisible(boxes.lower, boxes.upper).any(1)
            is_enough = 2 * len(parent) > self._at_once
            is_enough = is_enough or self.cuts + len(parent) > self._most_cuts
            if is_enough or not bool(divisible.all()):
                return boxes
            # As if bounds fell with the square of the width.
            axis = (codes // 3)[parent].unsqueeze(1)
            scores = scores[parent].scatter(1, axis, 0.25 * scores[parent].gather(1, axis))
            codes = _best_cuts(boxes.lower, boxes.upper, scores)

    def _record(self, numbers: Tensor, codes: Tensor) -> Tensor:
        """Takes note of what is done to boxes; for each child, its parent's place among them."""
        counts = torch.where(codes % 3 == 0, 2, 1)
        parent = torch.arange(len(codes)).repeat_interleave(counts)
        all_codes, first = torch.cat(self._codes), torch.cat(self._first_child)
        all_codes[numbers] = codes
        first[numbers] = self._count + torch.cumsum(counts, 0) - counts
        leaves = torch.full((len(parent),), LEAF)
        self._codes, self._first_child = [all_codes, leaves], [first, torch.zeros_like(leaves)]
        self._count += len(parent)
        self.cuts += int((codes % 3 == 0).sum())
        return parent

    def _chosen(self, least: float) -> Tensor:
        """Of the boxes that can be cut and matter, those of the largest bounds."""
        upper = self._parts.upper
        divisible = _divisible(self._lower, self._upper).any(1)
        if len(upper) and not bool(divisible[upper.argmax()]):
            return torch.zeros(0, dtype=torch.long)
        least = max(least, self.seen)
        matter = torch.where(divisible & ~(upper <= least), upper, -1.0)
        count = min(self._batch, int((matter >= 0).sum()))
        return matter.topk(count).indices

    def _action(self, chosen: Tensor) -> Tensor:
        """A face where one will do, else a cut along the input of the highest score."""
        lower, upper = self._lower[chosen], self._upper[chosen]
        face, rest = self._parts.face[chosen], self._parts.rest[chosen]
        cut = _best_cuts(lower, upper, self._parts.scores[chosen].nan_to_num(0.0))
        axis = (face // 2).clamp(min=0)
        is_flat = (upper - lower).gather(1, axis.unsqueeze(1)).squeeze(1) <= 0
        takes = (face >= 0) & (rest <= self.seen) & ~is_flat
        return torch.where(takes, 3 * axis + face % 2 + 1, cut)

    def _add(self, boxes: "_Boxes") -> None:
        found = at_once_or_in_halves(self._bounding, boxes.lower, boxes.upper, self._errors)
        best = int(found.seen.argmax())
        if not float(found.seen[best]) <= self.seen:
            self.seen = float(found.seen[best])
            self.steepest = 0.5 * boxes.lower[best] + 0.5 * boxes.upper[best]
        self._numbers = torch.cat([self._numbers, boxes.numbers])
        self._lower = torch.cat([self._lower, boxes.lower])
        self._upper = torch.cat([self._upper, boxes.upper])
        self._parts = joined([self._parts, found])

    def _drop(self, chosen: Tensor) -> None:
        kept = torch.ones(len(self._numbers), dtype=torch.bool)
        kept[chosen] = False
        self._numbers = self._numbers[kept]
        self._lower, self._upper = self._lower[kept], self._upper[kept]
        self._parts = of_each(self._parts, lambda values: values[kept])


@dataclass(frozen=True)
class _Boxes:
    """Some boxes, with their numbers in the order in which they were made."""

    numbers: Tensor
    lower: Tensor
    upper: Tensor


def _divisible(lower: Tensor, upper: Tensor) -> Tensor:
    """Where there is a float between both ends."""
    middle = middles(lower, upper)
    return (lower < middle) & (middle < upper)


def _best_cuts(lower: Tensor, upper: Tensor, scores: Tensor) -> Tensor:
    """The codes of cuts along the inputs of the highest scores."""
    return 3 * torch.where(_divisible(lower, upper), scores, -1.0).argmax(1)

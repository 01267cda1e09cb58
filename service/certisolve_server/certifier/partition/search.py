"""Best first: the boxes of the largest bounds are cut, many at a time."""

import torch
from torch import Tensor

from .bounding import Bounding, at_once_or_in_halves, joined, middles, of_each, unbounded
from .tree import LEAF, children, encode

#: At first few boxes are cut at a time, then more: choices made early are made of little.
_FIRST_BATCH = 8


class Search:
    """All boxes so far, and what was done to each.

    Args:
        bounding: of the box that is cut.
        errors: that say that a box has no bound.
    """

    def __init__(self, bounding: Bounding, errors: tuple[type[Exception], ...]) -> None:
        self._bounding, self._errors = bounding, errors
        self._codes: list[Tensor] = []
        self._first_child: list[Tensor] = []
        self._count, self._rest, self.seen, self.cuts = 0, 0.0, 0.0, 0
        self._batch = _FIRST_BATCH
        inputs = len(bounding.whole[0])
        self._lower = self._upper = torch.zeros(0, inputs, dtype=torch.float64)
        self._parts = unbounded(self._lower, self._upper)
        self._numbers = torch.zeros(0, dtype=torch.long)
        lower, upper = (end.unsqueeze(0) for end in bounding.whole)
        self._add(lower, upper)

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
        chosen = self._chosen(max(lower, self._rest))
        if not len(chosen):
            return False
        codes = self._action(chosen)
        below, above = children(self._lower[chosen], self._upper[chosen], codes)
        is_cut = codes % 3 == 0
        counts = torch.where(is_cut, 2, 1)
        starts = self._count + torch.cumsum(counts, 0) - counts
        self._record(self._numbers[chosen], codes, starts)
        if not bool(is_cut.all()):
            self._rest = max(self._rest, float(self._parts.rest[chosen][~is_cut].amax()))
        kept = torch.ones(len(self._numbers), dtype=torch.bool)
        kept[chosen] = False
        self._keep(kept)
        self.cuts += int(is_cut.sum())
        self._add(below, above)
        self._batch = min(2 * self._batch, self._bounding.batch)
        return True

    def _chosen(self, least: float) -> Tensor:
        """Of the boxes that can be cut and matter, those of the largest bounds."""
        upper = self._parts.upper
        middle = middles(self._lower, self._upper)
        divisible = ((self._lower < middle) & (middle < self._upper)).any(1)
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
        middle = middles(lower, upper)
        score = torch.where(
            (lower < middle) & (middle < upper), self._parts.scores[chosen].nan_to_num(0.0), -1.0
        )
        cut = 3 * score.argmax(1)
        axis = (face // 2).clamp(min=0)
        is_flat = (upper - lower).gather(1, axis.unsqueeze(1)).squeeze(1) <= 0
        takes = (face >= 0) & (rest <= self.seen) & ~is_flat
        return torch.where(takes, 3 * axis + face % 2 + 1, cut)

    def _add(self, lower: Tensor, upper: Tensor) -> None:
        numbers = torch.arange(self._count, self._count + len(lower))
        self._count += len(lower)
        self._codes.append(torch.full((len(lower),), LEAF))
        self._first_child.append(torch.zeros(len(lower), dtype=torch.long))
        found = at_once_or_in_halves(self._bounding, lower, upper, self._errors)
        self.seen = max(self.seen, float(found.seen.amax()))
        self._lower, self._upper = torch.cat([self._lower, lower]), torch.cat([self._upper, upper])
        self._numbers = torch.cat([self._numbers, numbers])
        self._parts = joined([self._parts, found])

    def _keep(self, kept: Tensor) -> None:
        self._lower, self._upper = self._lower[kept], self._upper[kept]
        self._numbers = self._numbers[kept]
        self._parts = of_each(self._parts, lambda values: values[kept])

    def _record(self, numbers: Tensor, codes: Tensor, starts: Tensor) -> None:
        all_codes, first = torch.cat(self._codes), torch.cat(self._first_child)
        all_codes[numbers], first[numbers] = codes, starts
        self._codes, self._first_child = [all_codes], [first]

"""Best first branch and bound over cuts of arguments of nonlinearities.

The largest bound of the parts that are not cut bounds the norm on the region: at almost every point
of it, the gradient is one whose slopes belong to one of the parts.
"""

import heapq
import itertools
from collections.abc import Iterator, Sequence

from torch import Tensor

from .evaluation import Task, evaluate, look
from .parts import Multiplier, Part

#: How many proofs that a part is empty are tried on others.
_CONFLICTS = 200

#: Linear programs in a row.
_PROGRAMS = 16


class Tree:
    """All parts of a region, for each row or for all together; the worst are cut first.

    Raises:
        NotCertified: ranges are unbounded.
    """

    def __init__(self, task: Task) -> None:
        self._task = task
        self._numbers = itertools.count()
        # Those that can be cut, and those of which it is to be seen whether they have points.
        self._waiting: list[tuple[float, int, Part]] = []
        self._whole: list[tuple[float, int, Part]] = []
        self._settled = 0.0
        self._conflicts: list[tuple[Multiplier, ...]] = []
        self._steepest: Part | None = None
        self._looks = _PROGRAMS // 2
        objective = task.objective
        rows = range(objective.outputs) if objective.is_per_row else [-1]
        self.roots = tuple(Part(row) for row in rows)
        self._add(self.roots)

    @property
    def upper(self) -> float:
        """At least the norm on the region."""
        return max(self._settled, _worst(self._waiting), _worst(self._whole))

    @property
    def is_over(self) -> bool:
        """Whether nothing can lower the bound."""
        return self.upper <= self._settled

    def advance(self, batch: int, enough: float) -> None:
        """Cuts some of the worst parts in two, none whose bound is not above `enough`.

        Where the worst one cannot be cut, looks whether it and its like are empty instead.
        """
        if _worst(self._whole) > _worst(self._waiting):
            batch = min(batch, _PROGRAMS)
            self._settle(self._taken(self._whole, batch, max(enough, _worst(self._waiting))))
        else:
            chosen = self._inhabited(self._taken(self._waiting, batch, enough))
            self._add([child for part in chosen if part.cut for child in part.split(part.cut)])

    def steepest(self) -> Tensor | None:
        """A point, (inputs,), in the worst part that was looked into since this was last asked."""
        worst, self._steepest = self._steepest, None
        return None if worst is None or worst.multipliers else worst.inside

    def _inhabited(self, parts: list[Part]) -> list[Part]:
        """Those that are not proven empty: the worst are looked into, more where that helps."""
        looked = [part for part in parts[: self._looks] if part.parent]
        if not looked:
            return parts
        look(self._task, looked)
        self._steepest = looked[0]
        doubtful = [part for part in looked if part.multipliers]
        if doubtful:
            self._take_note(doubtful, evaluate(self._task, doubtful).bounds)
        empty = [part for part in doubtful if part.bound == 0.0]
        self._conflicts += [part.multipliers for part in empty]
        self._looks = min(2 * self._looks, _PROGRAMS) if empty else max(self._looks // 2, 1)
        return [part for part in parts if part.bound > 0.0]

    def _taken(self, heap: list[tuple[float, int, Part]], batch: int, enough: float) -> list[Part]:
        """The worst ones, whose bounds are above `enough` and above what is settled."""
        chosen: list[Part] = []
        while len(chosen) < batch and _worst(heap) > max(enough, self._settled):
            chosen.append(heapq.heappop(heap)[2])
        return chosen

    def _add(self, parts: Sequence[Part]) -> None:
        if not parts:
            return
        self._remind(parts)
        found = evaluate(self._task, parts)
        for part, bound, cut in zip(parts, found.bounds, found.cuts, strict=True):
            known = part.parent.least if part.parent else float("inf")
            part.bound, part.least, part.cut = bound, min(bound, known), cut
            heap = self._whole if cut is None else self._waiting
            heapq.heappush(heap, (-part.least, next(self._numbers), part))

    def _settle(self, parts: Sequence[Part]) -> None:
        """Parts without points bound nothing; of the others nothing better is known."""
        unseen = self._remind(parts)
        reminded = [part for part in parts if part.multipliers]
        if reminded:
            found = evaluate(self._task, reminded).bounds
            unseen += [part for part, bound in zip(reminded, found, strict=True) if bound > 0.0]
            self._take_note(reminded, found)
        if unseen:
            look(self._task, unseen)
            self._take_note(unseen, evaluate(self._task, unseen).bounds)
            self._conflicts += [part.multipliers for part in unseen if part.bound == 0.0]
            self._settled = max(self._settled, max(part.least for part in unseen))
            self._steepest = max(unseen, key=lambda part: part.least)

    def _take_note(self, parts: Sequence[Part], bounds: Sequence[float]) -> None:
        for part, bound in zip(parts, bounds, strict=True):
            part.bound = min(part.bound, bound)
            part.least = min(part.least, bound)

    def _remind(self, parts: Sequence[Part]) -> list[Part]:
        """Gives parts what proved others empty whose cuts they have too; those that have none."""
        del self._conflicts[:-_CONFLICTS]
        known = [(frozenset(side for side, _ in each), each) for each in self._conflicts]
        unseen = []
        for part in parts:
            sides = frozenset(part.cuts())
            found = next((each for needed, each in reversed(known) if needed <= sides), None)
            if found is None:
                unseen.append(part)
            else:
                part.multipliers = found
        return unseen


def _worst(heap: Sequence[tuple[float, int, Part]]) -> float:
    return -heap[0][0] if heap else 0.0


def leaves(root: Part, upper: float) -> Iterator[Part]:
    """The largest parts whose own bound is not above `upper`, and those that are not cut."""
    waiting = [root]
    while waiting:
        part = waiting.pop()
        if part.bound <= upper or not part.children:
            yield part
        else:
            waiting.extend(reversed(part.children))

"""Best first branch and bound over cuts of arguments of nonlinearities.

The largest bound of the parts that are not cut bounds the norm on the region: at almost every point
of it, the gradient is one whose slopes belong to one of the parts.
"""

import heapq
import itertools
from collections.abc import Iterator, Sequence

from .evaluation import Task, evaluate
from .parts import Part


class Tree:
    """All parts of a region, for each row or for all together; the worst are cut first.

    Raises:
        NotCertified: ranges are unbounded.
    """

    def __init__(self, task: Task) -> None:
        self._task = task
        self._numbers = itertools.count()
        self._heap: list[tuple[float, int, Part]] = []
        self._final = 0.0
        objective = task.objective
        rows = range(objective.outputs) if objective.is_per_row else [-1]
        self.roots = tuple(Part(row) for row in rows)
        self._add(self.roots)

    @property
    def upper(self) -> float:
        """At least the norm on the region."""
        return max(self._final, -self._heap[0][0] if self._heap else 0.0)

    @property
    def is_over(self) -> bool:
        """Whether no cut can lower the bound."""
        return not self._heap or -self._heap[0][0] <= self._final

    def advance(self, batch: int, enough: float) -> None:
        """Cuts some of the worst parts in two, none whose bound is not above `enough`."""
        chosen: list[Part] = []
        while self._heap and len(chosen) < batch and -self._heap[0][0] > max(enough, self._final):
            chosen.append(heapq.heappop(self._heap)[2])
        children = [child for part in chosen if part.cut for child in part.split(part.cut)]
        if children:
            self._add(children)

    def _add(self, parts: Sequence[Part]) -> None:
        found = evaluate(self._task, parts)
        for part, bound, cut in zip(parts, found.bounds, found.cuts, strict=True):
            known = part.parent.least if part.parent else float("inf")
            part.bound, part.least, part.cut = bound, min(bound, known), cut
            if cut is None:
                self._final = max(self._final, part.least)
            else:
                heapq.heappush(self._heap, (-part.least, next(self._numbers), part))


def leaves(root: Part, upper: float) -> Iterator[Part]:
    """The largest parts whose own bound is not above `upper`, and those that are not cut."""
    waiting = [root]
    while waiting:
        part = waiting.pop()
        if part.bound <= upper or not part.children:
            yield part
        else:
            waiting.extend(reversed(part.children))

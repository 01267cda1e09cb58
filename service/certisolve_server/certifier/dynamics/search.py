"""The search for tubes: a box cut into parts, and steps made shorter, where that pays."""

import heapq
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch

from certisolve_server.certifier.arithmetic import Interval
from certisolve_server.certifier.errors import NotCertified
from certisolve_server.certifier.problem import Flow, Problem

from .bounds import on_boxes
from .courses import course
from .fields import Field
from .growth import Weights, unit_weights
from .partitions import Part, is_outside
from .tubes import Tube
from .weights import search_weights

#: Steps of the coarsest and of the finest look at a flow; powers of 2.
_FEWEST_STEPS, MOST_STEPS = 32, 1 << 14

#: Of h |J| along the course of the box's center, with which the search begins.
_SHORT = 0.25

#: Parts that are looked at together.
_BATCH = 32

#: Of the largest bound: parts with less wait.
_NEAR = 0.9

#: A bound that is above what it bounds by no more is as good as it gets.
_SETTLED = 1.0 + 1e-6


def whole_box(problem: Problem) -> Interval:
    """(n,), the box of the region.

    Raises:
        NotCertified: it is everything.
    """
    return problem.require_boxes().flat().rearranged(lambda ends: ends[0])


@dataclass(frozen=True, eq=False)
class Found:
    """A bound on all of the box, and what it follows from.

    Args:
        upper: the largest bound of a part.
        weights: of the norms in which growth was looked at.
        parts: see `Part.to_json`.
    """

    upper: float
    weights: Weights
    parts: Any


@dataclass(order=True)
class _Waiting:
    """A part that may be looked at more closely; the heap gives that of the largest bound first."""

    priority: float
    number: int
    part: Part = field(compare=False)
    axis: int = field(compare=False)
    coarse: bool = field(compare=False)
    settled: bool = field(compare=False)


class Search:
    """All parts of the box, and which of them is next.

    Arguments:
        problem: of a flow, on a bounded set.
        vector_field: of the flow.

    Attributes:
        reason: why a part has no tube; empty while none is known to have none.
    """

    def __init__(self, problem: Problem, vector_field: Field) -> None:
        assert isinstance(problem.subject, Flow)
        self._problem, self._field, self._flow = problem, vector_field, problem.subject
        whole = whole_box(problem)
        self._root = Part(whole.lower, whole.upper, _FEWEST_STEPS)
        self._weights = unit_weights(vector_field.size)
        self._heap: list[_Waiting] = []
        self._numbers = itertools.count()
        self.reason = ""

    def bounds(self) -> Iterator[Found | None]:
        """The bound of all parts, again and again; None where a slice of the work is over."""
        try:
            yield from self._begun()
        except NotCertified as reason:
            self.reason = str(reason)
            self._push(self._root, math.inf, None, 0)
        while True:
            if self._heap and -self._heap[0].priority < math.inf:
                yield Found(-self._heap[0].priority, self._weights, self._root.to_json())
            chosen = self._chosen()
            if not chosen:
                return
            for steps in sorted({part.steps for part in chosen}):
                yield from self._look([part for part in chosen if part.steps == steps], steps)

    def _begun(self) -> Iterator[None]:
        """Finds how short steps are to be, and norms in which little grows."""
        center = (self._root.lower + 0.5 * (self._root.upper - self._root.lower)).unsqueeze(0)
        steps, slopes = _FEWEST_STEPS, torch.zeros(1, *2 * (self._field.size,)).double()
        while steps < MOST_STEPS:
            path = course(self._field, center, self._flow.duration, steps)
            if bool(path.points.isfinite().all()):
                enclosed = yield from self._field.slopes(Interval.exact(path.points[0]))
                slopes = enclosed.midpoint_radius()[0]
                if float(path.dt * slopes.abs().sum(-1).amax()) <= _SHORT:
                    break
            yield
            steps *= 2
        self._root.steps = steps
        self._weights = yield from search_weights(slopes, self._flow.duration, self._problem.norms)
        yield from self._look([self._root], steps)

    def _look(self, parts: list[Part], steps: int) -> Iterator[None]:
        """Bounds parts and keeps them; those without a tube are kept, too."""
        inside = [part for part in parts if not is_outside(self._problem.region, part)]
        boxes = [(part.lower, part.upper) for part in inside]
        try:
            found = yield from on_boxes(
                self._field, boxes, self._flow.duration, steps, self._problem.norms, self._weights
            )
        except NotCertified as reason:
            self.reason = str(reason)
            for part in inside:
                self._push(part, math.inf, None, 0)
            return
        for part, (bound, tube, place) in zip(inside, found, strict=True):
            self._push(part, bound, tube, place)

    def _push(self, part: Part, bound: float, tube: Tube | None, place: int) -> None:
        widths = part.upper - part.lower
        coarse = tube is None or bool(tube.coarse[place])
        if tube is not None and bool(tube.proven[place]):
            sizes = tube.matrices.magnitude[place].amax(0)
            # Where nothing is known to move, the widest side is cut.
            moved = sizes * widths
            widths = moved if bool(moved.isfinite().all() & (moved > 0).any()) else widths
        waiting = _Waiting(
            -bound if not math.isnan(bound) else -math.inf,
            next(self._numbers),
            part,
            int(widths.argmax()),
            coarse,
            settled=bound <= _SETTLED * self._least(tube, place),
        )
        heapq.heappush(self._heap, waiting)

    def _least(self, tube: Tube | None, place: int) -> float:
        """About the size of the derivative at one point of a part: what no bound gets below."""
        if tube is None or not bool(tube.proven[place]):
            return 0.0
        center = tube.matrices.midpoint_radius()[0][place]
        return float(self._problem.norms.bound(Interval.exact(center)))

    def _chosen(self) -> list[Part]:
        """The parts to look at next; none where the worst one can be neither cut nor refined."""
        chosen: list[Part] = []
        worst = -self._heap[0].priority if self._heap else 0.0
        while self._heap and len(chosen) < _BATCH and -self._heap[0].priority >= _NEAR * worst:
            waiting = self._heap[0]
            if waiting.settled:
                break
            part = waiting.part
            if waiting.coarse and 2 * part.steps <= MOST_STEPS:
                part.steps *= 2
                chosen.append(part)
            elif part.cut(waiting.axis):
                chosen.extend(_halves(part) if waiting.priority == -math.inf else part.parts)
            else:
                break
            heapq.heappop(self._heap)
        return chosen


def _halves(part: Part) -> list[Part]:
    """Four parts of one that has no bound, by a second cut of both halves, or those."""
    quarters: list[Part] = []
    for half in part.parts:
        is_cut = half.cut(int((half.upper - half.lower).argmax()))
        quarters.extend(half.parts if is_cut else [half])
    return quarters

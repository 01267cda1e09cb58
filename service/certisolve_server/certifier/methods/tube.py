"""M7: flows of vector fields, by tubes of trajectories and the growth of differences in them.

First from slopes that hold everywhere, if there are such: |x(T) - y(T)| <= exp(mu T) |x(0) - y(0)|
with mu their largest logarithmic norm, in norms with weights that are searched for. Then on the box
of the region: a tube holds all trajectories from a part of it, slopes on the tube bound how their
differences change, by rates of growth or as products of enclosed matrices. The largest bound of the
parts holds for all of a convex set, as a segment between two points is cut by them into pieces
whose lengths add up. The part with the largest bound is cut in two, or looked at in shorter steps.
"""

import heapq
import itertools
import math
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from certisolve_server.certifier.arithmetic import Interval
from certisolve_server.certifier.dynamics.bounds import everywhere, on_boxes, still
from certisolve_server.certifier.dynamics.courses import course
from certisolve_server.certifier.dynamics.fields import Field
from certisolve_server.certifier.dynamics.growth import Weights, checked_weights, unit_weights
from certisolve_server.certifier.dynamics.partitions import Part, from_json, is_outside
from certisolve_server.certifier.dynamics.tubes import Tube
from certisolve_server.certifier.dynamics.weights import search_weights
from certisolve_server.certifier.errors import NotCertified
from certisolve_server.certifier.problem import Flow, Problem

from .method import Board, Bound, Evidence

#: Steps of the coarsest and of the finest look at a flow; powers of 2.
_FEWEST_STEPS, _MOST_STEPS = 32, 1 << 14

#: Of h |J| along the course of the box's center, with which the search begins.
_SHORT = 0.25

#: Parts that are looked at together.
_BATCH = 32

#: Of the largest bound: parts with less wait.
_NEAR = 0.9

#: A bound that is above what it bounds by no more is as good as it gets.
_SETTLED = 1.0 + 1e-6

#: Bounds are given higher by this: another machine, which rounds otherwise, proves them as well.
_MARGIN = 1.0 + 1e-9


@dataclass(frozen=True)
class Tubes:
    """The method of this module."""

    name: str = "tube"

    def run(self, problem: Problem, board: Board) -> Iterator[Bound | None]:
        """See `Method`."""
        flow, vector_field = _opened(problem)
        if flow.duration == 0.0:
            yield _bound(still(problem.norms, vector_field.size), {"kind": "still"})
            return
        best = math.inf
        refusal = ""
        try:
            found = yield from _on_all_of_space(problem, vector_field)
            best = found.upper
            yield found
        except NotCertified as reason:
            refusal = str(reason)
        if problem.boxes is None:
            if refusal:
                raise NotCertified(refusal)
            return
        search = _Search(problem, vector_field)
        for bound in search.bounds():
            if bound is None or not bound.upper < min(best, board.upper):
                yield None
            else:
                best = bound.upper
                yield bound
        if not best < math.inf:
            raise NotCertified(search.reason or "no tube was proven to hold the trajectories")

    def recheck(self, problem: Problem, evidence: Evidence) -> float:
        """See `Method`."""
        flow, vector_field = _opened(problem)
        kind = evidence["kind"]
        if kind == "still" and flow.duration == 0.0:
            return still(problem.norms, vector_field.size)
        weights = checked_weights(evidence["weights"], vector_field.size)
        if kind == "everywhere":
            return everywhere(vector_field, flow.duration, problem.norms, weights)
        if kind != "tubes":
            raise NotCertified(f"{kind!r} is no kind of evidence of flows of this duration")
        root = from_json(_whole(problem), evidence["parts"], _MOST_STEPS)
        return _over_parts(problem, vector_field, flow, root, weights)


def _opened(problem: Problem) -> tuple[Flow, Field]:
    if not isinstance(problem.subject, Flow):
        raise NotCertified("bounds flows of vector fields, and this is the graph of a map")
    return problem.subject, Field(problem.subject.field)


def _whole(problem: Problem) -> Interval:
    """(n,), the box of the region."""
    return problem.require_boxes().flat().rearranged(lambda ends: ends[0])


def _bound(upper: float, evidence: Mapping[str, Any]) -> Bound:
    return Bound(math.nextafter(upper * _MARGIN, math.inf), evidence)


def _told(weights: Weights) -> dict[str, list[float]]:
    return {norm: each.tolist() for norm, each in weights.items()}


def _on_all_of_space(problem: Problem, vector_field: Field) -> Generator[None, None, Bound]:
    """The better one of norms as they are and of norms with weights.

    Raises:
        NotCertified: there is no bound.
    """
    flow, norms = problem.subject, problem.norms
    assert isinstance(flow, Flow)
    plain = unit_weights(vector_field.size)
    best, kept = everywhere(vector_field, flow.duration, norms, plain), plain
    yield
    center = vector_field.slopes_everywhere().midpoint_radius()[0]
    searched = yield from search_weights(center.unsqueeze(0), flow.duration, norms)
    found = everywhere(vector_field, flow.duration, norms, searched)
    if found < best:
        best, kept = found, searched
    return _bound(best, {"kind": "everywhere", "weights": _told(kept)})


def _over_parts(
    problem: Problem, vector_field: Field, flow: Flow, root: Part, weights: Weights
) -> float:
    """The largest bound of the parts that hold something of the region."""
    parts = [part for part in root.leaves() if not is_outside(problem.region, part)]
    largest = 0.0
    for steps in sorted({part.steps for part in parts}):
        boxes = [(part.lower, part.upper) for part in parts if part.steps == steps]
        work = on_boxes(vector_field, boxes, flow.duration, steps, problem.norms, weights)
        for bound, _, _ in _finished(work):
            # True of NaN, too.
            if not bound < math.inf:
                raise NotCertified("a part of the box has no proven tube")
            largest = max(largest, bound)
    return largest


def _finished(work: Generator[None, None, Any]) -> Any:
    """What a computation returns, without pauses."""
    while True:
        try:
            next(work)
        except StopIteration as over:
            return over.value


def _halves(part: Part) -> list[Part]:
    """Four parts of one that has no bound, by a second cut of both halves, or those."""
    quarters: list[Part] = []
    for half in part.parts:
        is_cut = half.cut(int((half.upper - half.lower).argmax()))
        quarters.extend(half.parts if is_cut else [half])
    return quarters


@dataclass(order=True)
class _Waiting:
    """A part that may be looked at more closely; the heap gives that of the largest bound first."""

    priority: float
    number: int
    part: Part = field(compare=False)
    axis: int = field(compare=False)
    coarse: bool = field(compare=False)
    settled: bool = field(compare=False)


class _Search:
    """All parts of the box, and which of them is next."""

    def __init__(self, problem: Problem, vector_field: Field) -> None:
        assert isinstance(problem.subject, Flow)
        self._problem, self._field, self._flow = problem, vector_field, problem.subject
        whole = _whole(problem)
        self._root = Part(whole.lower, whole.upper, _FEWEST_STEPS)
        self._weights = unit_weights(vector_field.size)
        self._heap: list[_Waiting] = []
        self._numbers = itertools.count()
        self.reason = ""

    def bounds(self) -> Iterator[Bound | None]:
        """The bound of all parts, again and again."""
        try:
            yield from self._begun()
        except NotCertified as reason:
            self.reason = str(reason)
            self._push(self._root, math.inf, None, 0)
        while True:
            if self._heap and -self._heap[0].priority < math.inf:
                evidence = {
                    "kind": "tubes",
                    "weights": _told(self._weights),
                    "parts": self._root.to_json(),
                }
                yield _bound(-self._heap[0].priority, evidence)
            chosen = self._chosen()
            if not chosen:
                return
            for steps in sorted({part.steps for part in chosen}):
                yield from self._look([part for part in chosen if part.steps == steps], steps)

    def _begun(self) -> Iterator[None]:
        """Finds how short steps are to be, and norms in which little grows."""
        center = (self._root.lower + 0.5 * (self._root.upper - self._root.lower)).unsqueeze(0)
        steps, slopes = _FEWEST_STEPS, torch.zeros(1, *2 * (self._field.size,)).double()
        while steps < _MOST_STEPS:
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
            if waiting.coarse and 2 * part.steps <= _MOST_STEPS:
                part.steps *= 2
                chosen.append(part)
            elif part.cut(waiting.axis):
                chosen.extend(_halves(part) if waiting.priority == -math.inf else part.parts)
            else:
                break
            heapq.heappop(self._heap)
        return chosen

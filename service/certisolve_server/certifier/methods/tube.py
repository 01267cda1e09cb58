"""M7: flows of vector fields, by tubes of trajectories and the growth of differences in them.

First from slopes that hold everywhere, if there are such: |x(T) - y(T)| <= exp(mu T) |x(0) - y(0)|
with mu their largest logarithmic norm, in norms with weights that are searched for. Then on the box
of the region: a tube holds all trajectories from a part of it, slopes on the tube bound how their
differences change, by rates of growth or as products of enclosed matrices. The largest bound of the
parts holds for all of a convex set, as a segment between two points is cut by them into pieces
whose lengths add up. The part with the largest bound is cut in two, or looked at in shorter steps.
"""

import math
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from certisolve_server.certifier.dynamics.bounds import everywhere, on_boxes, still
from certisolve_server.certifier.dynamics.fields import Field
from certisolve_server.certifier.dynamics.growth import Weights, checked_weights, unit_weights
from certisolve_server.certifier.dynamics.partitions import Part, from_json, is_outside
from certisolve_server.certifier.dynamics.search import MOST_STEPS, Search, whole_box
from certisolve_server.certifier.dynamics.weights import search_weights
from certisolve_server.certifier.errors import NotCertified
from certisolve_server.certifier.problem import Flow, Problem
from certisolve_server.certifier.slices import finished

from .method import Board, Bound, Evidence

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
        search = Search(problem, vector_field)
        for each in search.bounds():
            if each is None or not each.upper * _MARGIN < min(best, board.upper):
                yield None
                continue
            told = {"kind": "tubes", "weights": _told(each.weights), "parts": each.parts}
            best = each.upper
            yield _bound(best, told)
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
        root = from_json(whole_box(problem), evidence["parts"], MOST_STEPS)
        return _over_parts(problem, vector_field, flow, root, weights)


def _opened(problem: Problem) -> tuple[Flow, Field]:
    if not isinstance(problem.subject, Flow):
        raise NotCertified("bounds flows of vector fields, and this is the graph of a map")
    return problem.subject, Field(problem.subject.field)


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
        for bound, _, _ in finished(work):
            # True of NaN, too.
            if not bound < math.inf:
                raise NotCertified("a part of the box has no proven tube")
            largest = max(largest, bound)
    return largest

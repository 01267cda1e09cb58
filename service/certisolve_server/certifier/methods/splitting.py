"""M2: the box cut into smaller ones, the worst of them first, for as long as one likes.

The largest bound of the parts bounds the Lipschitz constant on the whole: the segment between two
points of a convex set is cut into pieces that lie in one part each, and the lengths of the pieces
add up. Parts are bounded by second-order enclosures where the graph is small enough for a tape (see
`taylor`), else by intervals (see `mean_value`); the excess of both falls with the square of the
width (Moore, Kearfott and Cloud, 2009, section 6.3). Around balls, parts without a point of the
ball are left out. The evidence is the tree of cuts (see `partition.tree`).
"""

import math
from collections.abc import Iterator

from certisolve_server.certifier.arithmetic import NotABound, OutsideDomain
from certisolve_server.certifier.domain import Boxes
from certisolve_server.certifier.errors import NotCertified
from certisolve_server.certifier.partition import (
    MAX_INPUTS,
    Bounding,
    ByBoth,
    ByIntervals,
    ByTaylor,
    Outside,
    Search,
    recheck,
)
from certisolve_server.certifier.problem import Problem
from certisolve_server.certifier.taylor import record
from certisolve_server.certifier.witness import Witness

from .mean_value import around, require_few_numbers
from .method import Board, Bound, Evidence
from .sighting import Sighting

#: A part that gives one of these has no bound, and is cut.
_NO_BOUND = (NotCertified, NotABound, OutsideDomain)

#: Bounds are given when they are this much better than the one before, and at the end.
_WORTHWHILE = 0.99

#: One turn, in seconds.
_SLICE_S = 0.1

#: A bound that is so close to what was seen is told at once.
_CLOSE = 1.01

#: What is claimed is this much above what was found, for machines that sum up otherwise.
_SLACK = 1.0 + 2.0**-36

#: Where nothing is finite after so many cuts, nothing will be.
_ENOUGH = 5000


class Splitting:
    """Best first; the tree of cuts proves the bound again."""

    name = "splitting"

    def run(self, problem: Problem, board: Board) -> Iterator[Bound | Witness | None]:
        """Ever smaller bounds, as long as cuts help.

        With them come witnesses of what was seen at centres, which tells when to stop.
        """
        box = around(problem)
        way, bounding = _best_bounding(problem, box)
        search = Search(bounding, _NO_BOUND, board.most_cuts)
        sighting = Sighting(problem, bounding)
        given, goes_on = math.inf, True
        while goes_on:
            goes_on = _advanced(search, board)
            wanted = given * (_WORTHWHILE if goes_on else 1.0)
            is_better = search.bound * _SLACK < min(wanted, board.upper)
            if is_better:
                given = search.bound * _SLACK
            yield _bound(way, search) if is_better else None
            if search.steepest is not None:
                yield sighting.witness(search.steepest, board.lower)
        if search.bound == math.inf:
            raise NotCertified(f"no finite bound after {search.cuts} cuts")

    def recheck(self, problem: Problem, evidence: Evidence) -> float:
        """The largest bound of the leaves of the tree."""
        box = around(problem)
        ways = {"taylor": _by_taylor, "intervals": _by_intervals}
        bounding = ways[evidence["by"]](problem, box)
        if bounding is None:
            raise NotCertified(f"parts cannot be bounded by {evidence['by']} here")
        return recheck(bounding, evidence["cuts"])


def _advanced(search: Search, board: Board) -> bool:
    """Cuts for one slice of time, or once where nobody counts the time; false at the end."""
    stop = board.left_s() - _SLICE_S
    while search.advance(board.lower):
        if search.bound == math.inf and search.cuts > _ENOUGH:
            return False
        if not (stop < board.left_s() < math.inf) or search.bound <= _CLOSE * board.lower:
            return True
    return False


def _bound(way: str, search: Search) -> Bound:
    return Bound(search.bound * _SLACK, {"by": way, "cuts": search.levels()})


def _best_bounding(problem: Problem, box: Boxes) -> tuple[str, Bounding]:
    by_taylor = _by_taylor(problem, box)
    if by_taylor is not None:
        return "taylor", by_taylor
    return "intervals", _by_intervals(problem, box)


def _by_taylor(problem: Problem, box: Boxes) -> Bounding | None:
    """None of graphs that are none for tapes; endless boxes are for intervals."""
    graph, flat = problem.require_map(), box.flat()
    tape = record(graph)
    if tape is None:
        return None
    by_taylor = ByTaylor(tape, box, problem.norms, Outside(problem.region, graph))
    is_finite = bool((flat.lower.isfinite() & flat.upper.isfinite()).all())
    return by_taylor if is_finite else ByBoth(by_taylor, _by_intervals(problem, box))


def _by_intervals(problem: Problem, box: Boxes) -> ByIntervals:
    graph = problem.require_map()
    entries = box.flat().shape[1]
    if entries > MAX_INPUTS:
        raise NotCertified(f"cuts boxes of at most {MAX_INPUTS} numbers, not {entries}")
    require_few_numbers(graph, box)
    return ByIntervals(graph, box, problem.norms, Outside(problem.region, graph))

"""Where the outputs are, on a bounded region: boxes around them, ever smaller ones.

The mean value form of the whole box first (see `methods.mean_value`), intersected with what an
enclosure around one point gives (see `rounding_radius.around`); then the box is cut, each part is
enclosed, and the hull of all parts is one of the whole.
"""

from collections.abc import Callable, Iterator
from typing import TypeAlias

import torch
from torch import Tensor

from .arithmetic import Interval, NotABound, OutsideDomain
from .domain import Boxes, values
from .dynamics.fields import Field
from .dynamics.tubes import tube
from .errors import NotCertified, UnsupportedOperator
from .graph.node import Graph
from .interpreter import interpret
from .methods.mean_value import enclose, require_few_numbers
from .problem import Flow, Problem
from .region import Region
from .rounding_radius import Surveyor

#: Boxes of more numbers are not cut: halving one of many axes gains nothing.
_MAX_INPUTS = 12

#: Parts at the end, and how many are enclosed at a time.
_MAX_PARTS = 4096
_BATCH = 64

_TUBE_STEPS = 256

#: From a graph, boxes and the region that they hold parts of, to where the outputs are.
_Way: TypeAlias = Callable[[Graph, Boxes, Region], Interval]


def enclosures(problem: Problem) -> Iterator[Interval | None]:
    """Ever smaller boxes around the outputs, flattened; None where a slice is over without one.

    Of everything, and where nothing is finite, there is none.

    Args:
        problem: its norms do not matter.
    """
    if problem.boxes is None:
        return
    if isinstance(problem.subject, Flow):
        yield from _ends(problem.subject, problem.boxes)
        return
    graph, whole = problem.subject, problem.boxes
    best: Interval | None = None
    for way in (_by_intervals, _by_mean_value, _around_a_point):
        found = _tried(way, graph, whole, problem.region)
        best = _sharper(best, found)
        yield best if found is not None else None
    if best is None or whole.flat().shape[1] > _MAX_INPUTS:
        return
    for parts in _cuts(whole):
        hull: Interval | None = None
        for part in _batches(whole, parts):
            found = _tried(_by_mean_value, graph, part, problem.region)
            if found is None:
                return
            hull = found if hull is None else hull.hull(found)
            yield None
        best = _sharper(best, hull)
        yield best


def _by_intervals(graph: Graph, boxes: Boxes, _region: Region) -> Interval:
    return _over_boxes(interpret(graph, values(boxes)).value)


def _by_mean_value(graph: Graph, boxes: Boxes, _region: Region) -> Interval:
    require_few_numbers(graph, boxes)
    return _over_boxes(enclose(graph, boxes).value)


def _around_a_point(graph: Graph, _boxes: Boxes, region: Region) -> Interval:
    found = Surveyor(graph).on_region(region)
    entries = found.output.entries
    return (Interval.exact(found.center) + Interval(-entries, entries)).rearranged(
        lambda ends: ends.flatten()
    )


def _ends(flow: Flow, boxes: Boxes) -> Iterator[Interval | None]:
    """Where trajectories end, if a tube holds them."""
    work = tube(Field(flow.field), boxes.flat(), flow.duration, _TUBE_STEPS)
    while True:
        try:
            next(work)
        except StopIteration as over:
            found = over.value
            break
        except NotCertified:
            return
        yield None
    if bool(found.proven.all()):
        yield found.ends.rearranged(lambda ends: ends[0])


def _tried(way: _Way, graph: Graph, boxes: Boxes, region: Region) -> Interval | None:
    """A finite enclosure, if that way gives one."""
    try:
        found = way(graph, boxes, region)
    except (NotCertified, UnsupportedOperator, NotABound, OutsideDomain):
        return None
    return found if bool((found.lower.isfinite() & found.upper.isfinite()).all()) else None


def _over_boxes(value: Interval) -> Interval:
    """The hull over all boxes, flattened."""
    return Interval(value.lower.amin(0).flatten(), value.upper.amax(0).flatten())


def _sharper(best: Interval | None, found: Interval | None) -> Interval | None:
    if best is None or found is None:
        return best if found is None else found
    return best.intersection(found)


def _cuts(whole: Boxes) -> Iterator[tuple[Tensor, Tensor]]:
    """Corners of all parts, twice as many each time: the widest axis of all is cut."""
    flat = whole.flat()
    lower, upper = flat.lower, flat.upper
    while lower.shape[0] < _MAX_PARTS:
        axis = int((upper - lower).amax(0).argmax())
        middle = lower[:, axis] + 0.5 * (upper[:, axis] - lower[:, axis])
        if not bool(((lower[:, axis] < middle) & (middle < upper[:, axis])).all()):
            return
        left_upper, right_lower = upper.clone(), lower.clone()
        left_upper[:, axis] = right_lower[:, axis] = middle
        lower, upper = torch.cat([lower, right_lower]), torch.cat([left_upper, upper])
        yield lower, upper


def _batches(whole: Boxes, parts: tuple[Tensor, Tensor]) -> Iterator[Boxes]:
    for lower, upper in zip(*(torch.split(end, _BATCH) for end in parts), strict=True):
        yield whole.from_flat(Interval(lower, upper))

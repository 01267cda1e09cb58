"""Enclosures of how much the output of a map changes between inputs, and along directions."""

from collections.abc import Mapping
from types import MappingProxyType

import torch

from certisolve_server.certifier.arithmetic import Interval
from certisolve_server.certifier.arithmetic.rounding import product_up
from certisolve_server.certifier.domain import Boxes, box, values
from certisolve_server.certifier.errors import NotCertified, UnsupportedOperator
from certisolve_server.certifier.graph.node import Graph
from certisolve_server.certifier.interpreter import interpret
from certisolve_server.certifier.norms import Norms
from certisolve_server.certifier.region import Point
from certisolve_server.certifier.rounding_radius import Surveyor
from certisolve_server.certifier.rules import Abstraction

from .lengths import lengths

#: The varying number of the line between two inputs.
_LINE = "line"


def change_along(graph: Graph, norms: Norms, x: Point, direction: Point) -> Interval:
    """How much the output changes at x per length 1 of the direction, in the norm of outputs."""
    slope = _along(graph, box(graph, x, x).sides, box(graph, direction, direction).sides)
    return lengths(weighted(slope, norms.output_weights), norms.outputs)


def change_between(graph: Graph, norms: Norms, x: Point, y: Point) -> Interval:
    """|f(x) - f(y)| in the norm of outputs, by values and by the slope between."""
    ends, starts = box(graph, x, x).sides, box(graph, y, y).sides
    path = {name: end.hull(starts[name]) for name, end in ends.items()}
    step = {name: end - starts[name] for name, end in ends.items()}
    by_values = _value(graph, ends) - _value(graph, starts)
    change = _along(graph, path, step).intersection(by_values)
    return lengths(weighted(change, norms.output_weights), norms.outputs)


class Difference:
    """Differences of values, each enclosed around what float64 computes, where that is possible."""

    def __init__(self, graph: Graph) -> None:
        try:
            self._surveyor: Surveyor | None = Surveyor(graph)
        except (UnsupportedOperator, NotCertified):
            self._surveyor = None

    def between(self, norms: Norms, x: Point, y: Point) -> Interval:
        """|f(x) - f(y)| in the norm of outputs.

        Raises:
            NotCertified: there is no bound at one of the inputs.
        """
        if self._surveyor is None:
            raise NotCertified("the map is not executed with known rounding")
        try:
            at_x, at_y = (self._surveyor.at_point(point) for point in (x, y))
        except UnsupportedOperator as refusal:
            raise NotCertified(str(refusal)) from refusal
        computed = Interval.exact(at_x.center.flatten()) - Interval.exact(at_y.center.flatten())
        off = at_x.output.plus(at_y.output)
        entries = off.entries.flatten()
        change = weighted(computed + Interval(-entries, entries), norms.output_weights)
        by_entries = lengths(change, norms.outputs)
        if norms.outputs != "l2":
            return by_entries
        middle = lengths(weighted(computed, norms.output_weights), "l2")
        heaviest = norms.output_weights
        longest = off.length if heaviest is None else product_up(off.length, heaviest.upper.amax())
        around = middle + Interval(-longest, longest)
        least = torch.maximum(by_entries.lower, around.lower.clamp(min=0.0))
        return Interval(least, torch.minimum(by_entries.upper, around.upper))


def weighted(vector: Interval, weights: Interval | None) -> Interval:
    """The vector, entry by entry times the weights of a norm."""
    return vector if weights is None else vector * weights


def _along(graph: Graph, path: Mapping[str, Interval], step: Mapping[str, Interval]) -> Interval:
    """The slope of the output where the inputs are on a path and change by a step, flattened."""
    known = {
        name: Abstraction(
            side, MappingProxyType({_LINE: step[name].rearranged(lambda ends: ends.unsqueeze(1))})
        )
        for name, side in path.items()
    }
    output = interpret(graph, known)
    block = output.jacobian.get(_LINE)
    if block is None:
        return Interval.exact(torch.zeros(output.value.lower[0].numel(), dtype=torch.float64))
    return block.rearranged(lambda ends: ends[0, 0].flatten())


def _value(graph: Graph, point: Mapping[str, Interval]) -> Interval:
    output = interpret(graph, values(Boxes(point)))
    return output.value.rearranged(lambda ends: ends[0].flatten())

"""M1: enclosures of every value and of the slopes on a box, each sharpened by the other.

Forward, node by node: the interval of a value, and by the chain rule an interval matrix J of its
slopes with respect to the inputs (see `rules.abstraction`). With the value z(c) at a point c of the
box, the mean value form

    z(x) in z(c) + J (X - c)

(Moore, Kearfott and Cloud, Introduction to Interval Analysis, 2009, section 6.3) encloses it as
well, and what both have in common is gone on with. J at the output is a set of matrices that maps
each difference of two inputs in the box to that of their outputs, so the largest norm in it bounds
the Lipschitz constant; the box being convex, also on a union of boxes that is convex.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch

from certisolve_server.certifier.arithmetic import Interval, concatenate, matmul
from certisolve_server.certifier.domain import Boxes, seeds, values
from certisolve_server.certifier.errors import NotCertified
from certisolve_server.certifier.graph.node import Graph
from certisolve_server.certifier.interpreter import interpret, values_along
from certisolve_server.certifier.problem import Problem
from certisolve_server.certifier.rules import Abstraction

from .method import Board, Bound, Evidence

#: Numbers of the slopes of all nodes together: seconds of work.
_MAX_NUMBERS = 1 << 23


@dataclass(frozen=True)
class Enclosure:
    """What M1 knows of the output on each box.

    Args:
        value: (boxes, *shape of the output).
        jacobian: (boxes, outputs, inputs), both flattened, inputs in the order of the graph.
    """

    value: Interval
    jacobian: Interval


class MeanValue:
    """The norm of the slopes on the box around the region, or on all of the space, as it is."""

    name = "mean_value"

    def run(self, problem: Problem, board: Board) -> Iterator[Bound | None]:
        """One bound; its evidence is that it can be computed again."""
        del board
        yield Bound(self._bound(problem))

    def recheck(self, problem: Problem, evidence: Evidence) -> float:
        """As in `run`: nothing was searched for."""
        if evidence:
            raise NotCertified("slopes on one box have no evidence")
        return self._bound(problem)

    def _bound(self, problem: Problem) -> float:
        graph = problem.require_map()
        boxes = around(problem)
        require_few_numbers(graph, boxes)
        return float(problem.norms.bound(enclose(graph, boxes).jacobian)[0])


def around(problem: Problem) -> Boxes:
    """The box that holds the region; without ends, if that is everything."""
    if problem.boxes is not None:
        return problem.boxes
    sides = {each.name: Interval.entire((1, *each.shape)) for each in problem.graph.inputs}
    return Boxes(MappingProxyType(sides))


def require_few_numbers(graph: Graph, boxes: Boxes) -> None:
    """Returns if slopes with respect to each number of the inputs are few enough to be computed.

    Raises:
        NotCertified: they are not.
    """
    values = sum(math.prod(node.shape) for node in graph.nodes)
    entries = sum(side.lower[0].numel() for side in boxes.sides.values())
    if values * entries > _MAX_NUMBERS:
        raise NotCertified(
            f"takes at most {_MAX_NUMBERS} slopes, not those of {values} values by {entries}"
        )


def enclose(graph: Graph, boxes: Boxes) -> Enclosure:
    """Values and slopes on each box.

    Raises:
        NotCertified: no bound could be given at some node, which is named.
        UnsupportedOperator: a rule does not hold for some arguments.
    """
    centers = boxes.centers()
    at_center = values_along(graph, values(centers))
    offsets = {name: boxes.sides[name] - centers.sides[name] for name in boxes.sides}

    def sharpen(name: str, abstraction: Abstraction) -> Abstraction:
        return _sharpened(abstraction, at_center[name], offsets)

    output = interpret(graph, seeds(boxes), sharpen)
    return Enclosure(output.value, _matrix(output, boxes))


def _sharpened(x: Abstraction, center: Interval, offsets: Mapping[str, Interval]) -> Abstraction:
    """X with its values in the mean value form as well."""
    if not x.jacobian:
        return x
    form = center
    for name, block in x.jacobian.items():
        form = form + _change(block, offsets[name])
    return Abstraction(x.value.intersection(form), x.jacobian)


def _change(block: Interval, offset: Interval) -> Interval:
    """J (X - c) of one input: (boxes, *shape of the value)."""
    shape = block.shape[2:]
    matrix = block.rearranged(lambda bound: bound.flatten(2) if shape else bound.unsqueeze(2))
    row = offset.rearranged(lambda bound: bound.flatten(1).unsqueeze(1))
    return matmul(row, matrix).rearranged(lambda bound: bound.reshape(-1, *shape))


def _matrix(output: Abstraction, boxes: Boxes) -> Interval:
    """(boxes, outputs, inputs): zeros for inputs without influence."""
    outputs = output.value.lower[0].numel()
    columns = [_columns(output, name, side, outputs) for name, side in boxes.sides.items()]
    count = len(boxes)
    everywhere = [block.rearranged(lambda bound: bound.expand(count, -1, -1)) for block in columns]
    return concatenate(everywhere, 1).rearranged(lambda bound: bound.transpose(1, 2))


def _columns(output: Abstraction, name: str, side: Interval, outputs: int) -> Interval:
    entries = side.lower[0].numel()
    block = output.jacobian.get(name)
    if block is None:
        return Interval.exact(torch.zeros(1, entries, outputs, dtype=torch.float64))
    return block.rearranged(lambda bound: bound.reshape(-1, entries, outputs))

"""From two inputs, or from one and a direction, to a proven lower bound of the Lipschitz constant.

The difference of the outputs of a pair is enclosed twice, and what both have in common counts:
f(x) - f(y) by the intervals of both values, which suits pairs that are far apart; and by the slope
along the line from y to x. Of the path z(s) = y + s (x - y), s in [0, 1], each rule gives an
enclosure of (z(s) - z(r)) / (s - r) on the whole path (see `rules.abstraction`), so that of the
output holds f(x) - f(y), without the cancellation that the values suffer where x and y are close.

A direction is the limit of such pairs. Let x + t v be in the region for all t in [0, 1], and let
every rule be taken at x alone. Then each limit point of (z(x + t v) - z(x)) / t for t to 0 lies in
the enclosure of the slopes of z: for sums and products because limits are exchanged with them, and
for s(z) because quotients of s between z(x) and z(x + t v) are in the Clarke derivative of s on
that segment (Clarke, Optimization and Nonsmooth Analysis, theorem 2.3.7), whose limit points are in
that at z(x) (proposition 2.1.5), which the rules enclose. There are limit points, since f is
Lipschitz continuous near x; and as each quotient is at most L |v| in size, so are they.
"""

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import torch
from torch import Tensor

from certisolve_server.certifier.arithmetic import Interval, NotABound, OutsideDomain
from certisolve_server.certifier.arithmetic.bilinear import gamma
from certisolve_server.certifier.arithmetic.norms import Norm
from certisolve_server.certifier.arithmetic.rounding import down
from certisolve_server.certifier.domain import Boxes, box, values
from certisolve_server.certifier.errors import NotCertified
from certisolve_server.certifier.graph.node import Graph
from certisolve_server.certifier.interpreter import interpret
from certisolve_server.certifier.problem import Flow, Problem
from certisolve_server.certifier.region import Point, contains, holds, length
from certisolve_server.certifier.rules import Abstraction
from certisolve_server.certifier.witness import Kind, Witness

#: The varying number of the line from y to x.
_LINE = "line"


def recheck_witness(problem: Problem, witness: Witness) -> float:
    """The lower bound that a witness proves.

    Raises:
        NotCertified: it is not proven to be in the region, its points are the same or its direction
            is none, or there is no bound of the map there.
        InvalidRequest: it holds no inputs of the graph.
        UnsupportedOperator: a rule does not hold for some arguments.
    """
    return float(_enclosed(problem, witness).lower)


def witness_of(problem: Problem, kind: Kind, x: Point, other: Point) -> Witness:
    """The witness of these points; its bound has room for what another machine rounds otherwise.

    Raises:
        NotCertified: see `recheck_witness`.
    """
    proven = _enclosed(problem, Witness(kind, x, other, 0.0))
    lower, upper = float(proven.lower), float(proven.upper)
    # All machines enclose the same number, in intervals of about the same width.
    return Witness(kind, x, other, max(0.0, lower - (upper - lower)) if upper < math.inf else 0.0)


def _enclosed(problem: Problem, witness: Witness) -> Interval:
    """Bounds of how much the map changes at a witness by how much the input does."""
    if isinstance(problem.subject, Flow):
        raise NotCertified("no witness of a flow is proven")
    graph, norms = problem.subject, problem.norms
    _require_inside(problem, witness)
    try:
        if witness.kind == "pair":
            step = _flat(graph, witness.x) - _flat(graph, witness.other)
            change = _difference(graph, witness.x, witness.other)
        else:
            step = _flat(graph, witness.other)
            change = _along(graph, _at(graph, witness.x), _at(graph, witness.other))
        step, change = _weighted(step, norms.input_weights), _weighted(change, norms.output_weights)
    except (NotABound, OutsideDomain) as error:
        raise NotCertified(f"the map has no bound at the witness: {error}") from error
    distance = Interval(_least(step, norms.inputs), length(step.magnitude, norms.inputs))
    if not float(distance.lower) > 0.0:
        raise NotCertified("both inputs of the witness are the same")
    moved = Interval(_least(change, norms.outputs), length(change.magnitude, norms.outputs))
    ratio = moved / distance
    return Interval(ratio.lower.clamp(min=0.0), ratio.upper)


def _require_inside(problem: Problem, witness: Witness) -> None:
    graph = problem.graph
    inside = contains(problem.region, graph, witness.x)
    if witness.kind == "pair":
        inside = inside and contains(problem.region, graph, witness.other)
    else:
        at, direction = box(graph, witness.x, witness.x), box(graph, witness.other, witness.other)
        sides = {name: side + direction.sides[name] for name, side in at.sides.items()}
        inside = inside and holds(problem.region, Boxes(MappingProxyType(sides)), graph)
    if not inside:
        raise NotCertified("the witness is not proven to be in the region")


def _difference(graph: Graph, x: Point, y: Point) -> Interval:
    """F(x) - f(y), flattened."""
    ends, starts = _at(graph, x), _at(graph, y)
    path = {name: end.hull(starts[name]) for name, end in ends.items()}
    step = {name: end - starts[name] for name, end in ends.items()}
    return _along(graph, path, step).intersection(_value(graph, ends) - _value(graph, starts))


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


def _at(graph: Graph, point: Point) -> Mapping[str, Interval]:
    """Each input as a box of one point."""
    return box(graph, point, point).sides


def _flat(graph: Graph, point: Point) -> Interval:
    parts: Sequence[Tensor] = [point[each.name].flatten() for each in graph.inputs]
    return Interval.exact(torch.cat(list(parts)))


def _weighted(change: Interval, weights: Interval | None) -> Interval:
    return change if weights is None else change * weights


def _least(change: Interval, norm: Norm) -> Tensor:
    """At most the norm of each member, 0 or more.

    n terms that are not negative are summed with a relative error of at most gamma_n in any order,
    and what underflows among their squares is left away (Higham, 2002, section 3.1).
    """
    sizes = change.mignitude
    if norm == "linf":
        return sizes.amax(-1)
    share = 1.0 - 2.0 * gamma(sizes.shape[-1] + 4)
    if norm == "l1":
        return down(sizes.sum(-1) * share).clamp(min=0.0)
    # Scaled by a power of two no square overflows.
    scale = 2.0 ** min(max(math.frexp(float(sizes.amax(-1)))[1], -1000), 1000)
    squares = down(down(sizes / scale).clamp(min=0.0).square()).clamp(min=0.0)
    root = (squares.sum(-1) * share).sqrt() * (1.0 - gamma(8))
    return down(down(root) * scale).clamp(min=0.0)

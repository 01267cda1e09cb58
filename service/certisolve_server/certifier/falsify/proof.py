"""From two inputs, or from one and a direction, to a proven lower bound of the Lipschitz constant.

The difference of the outputs of a pair is enclosed by three ways, and what they have in common
counts: f(x) - f(y) by intervals of both values, and around what float64 computes of them (see
`rounding_radius.around`), which is what is left of deep networks; and by the slope along the line
from y to x, without the cancellation that values suffer where x and y are close. Of the path
z(s) = y + s (x - y), s in [0, 1], each rule gives an enclosure of (z(s) - z(r)) / (s - r) on the
whole path (see `rules.abstraction`), so that of the output holds f(x) - f(y).

A direction is the limit of such pairs. Let x + t v be in the region for all t in [0, 1], and let
every rule be taken at x alone. Then each limit point of (z(x + t v) - z(x)) / t for t to 0 lies in
the enclosure of the slopes of z: for sums and products because limits are exchanged with them, and
for s(z) because quotients of s between z(x) and z(x + t v) are in the Clarke derivative of s on
that segment (Clarke, Optimization and Nonsmooth Analysis, theorem 2.3.7), whose limit points are in
that at z(x) (proposition 2.1.5), which the rules enclose. There are limit points, since f is
Lipschitz continuous near x; and as each quotient is at most L |v| in size, so are they.
"""

import math
from collections.abc import Callable
from types import MappingProxyType

from certisolve_server.certifier.arithmetic import Interval, NotABound, OutsideDomain
from certisolve_server.certifier.domain import Boxes, box
from certisolve_server.certifier.errors import NotCertified
from certisolve_server.certifier.problem import Flow, Problem
from certisolve_server.certifier.region import Point, contains, holds
from certisolve_server.certifier.witness import Kind, Witness

from .changes import Difference, change_along, change_between, weighted
from .flows import flow_change
from .lengths import lengths
from .space import flat


class Prover:
    """Proves witnesses of one problem; of a flow, only pairs."""

    def __init__(self, problem: Problem) -> None:
        self._problem, self._graph = problem, problem.graph
        is_map = not isinstance(problem.subject, Flow)
        self._difference = Difference(self._graph) if is_map else None

    def witness(self, kind: Kind, x: Point, other: Point) -> Witness:
        """The witness of these points; its bound has room for what machines round otherwise.

        Raises:
            NotCertified: see `recheck_witness`.
        """
        proven = self.slope(Witness(kind, x, other, 0.0))
        lower, upper = float(proven.lower), float(proven.upper)
        # All machines enclose the same number, in intervals of about the same width.
        room = upper - lower if upper < math.inf else lower
        return Witness(kind, x, other, max(0.0, lower - room))

    def slope(self, witness: Witness) -> Interval:
        """How much the map changes at a witness by how much the input does.

        Raises:
            NotCertified: see `recheck_witness`.
        """
        self._require_inside(witness)
        graph, norms = self._graph, self._problem.norms
        end, other = (Interval.exact(flat(graph, each)) for each in (witness.x, witness.other))
        step = end - other if witness.kind == "pair" else other
        distance = lengths(weighted(step, norms.input_weights), norms.inputs)
        if not float(distance.lower) > 0.0:
            raise NotCertified("both inputs of the witness are the same")
        ratio = self._change(witness) / distance
        return Interval(ratio.lower.clamp(min=0.0), ratio.upper)

    def _change(self, witness: Witness) -> Interval:
        graph, norms = self._graph, self._problem.norms
        x, other = witness.x, witness.other
        if witness.kind == "direction":
            if isinstance(self._problem.subject, Flow):
                raise NotCertified("a witness of a flow is a pair")
            return _bounded(lambda: change_along(graph, norms, x, other))
        found, refusal = None, NotCertified("there is no way to enclose the map")
        for way in self._ways(x, other):
            try:
                bound = _bounded(way)
            except NotCertified as error:
                refusal = error
                continue
            found = bound if found is None else found.intersection(bound)
        if found is None:
            raise refusal
        return found

    def _ways(self, x: Point, y: Point) -> list[Callable[[], Interval]]:
        """To enclose the change between two inputs."""
        graph, norms, subject = self._graph, self._problem.norms, self._problem.subject
        if isinstance(subject, Flow):
            ends = flat(graph, x), flat(graph, y)
            return [
                lambda: lengths(
                    weighted(flow_change(subject, *ends), norms.output_weights), norms.outputs
                )
            ]
        ways: list[Callable[[], Interval]] = [lambda: change_between(graph, norms, x, y)]
        difference = self._difference
        if difference is not None:
            ways.append(lambda: difference.between(norms, x, y))
        return ways

    def _require_inside(self, witness: Witness) -> None:
        graph, region = self._graph, self._problem.region
        inside = contains(region, graph, witness.x)
        if witness.kind == "pair":
            inside = inside and contains(region, graph, witness.other)
        else:
            at = box(graph, witness.x, witness.x).sides
            direction = box(graph, witness.other, witness.other).sides
            ends = {name: side + direction[name] for name, side in at.items()}
            inside = inside and holds(region, Boxes(MappingProxyType(ends)), graph)
        if not inside:
            raise NotCertified("the witness is not proven to be in the region")


def recheck_witness(problem: Problem, witness: Witness) -> float:
    """The lower bound that a witness proves.

    Raises:
        NotCertified: it is not proven to be in the region, its points are the same or its direction
            is none, or there is no bound of the map there.
        InvalidRequest: it holds no inputs of the graph.
        UnsupportedOperator: a rule does not hold for some arguments.
    """
    return float(Prover(problem).slope(witness).lower)


def _bounded(enclose: Callable[[], Interval]) -> Interval:
    try:
        return enclose()
    except (NotABound, OutsideDomain) as error:
        raise NotCertified(f"the map has no bound at the witness: {error}") from error

"""Values at one point, started afresh after each nonlinearity, so that rounding does not add up."""

from collections.abc import Mapping
from dataclasses import dataclass

from certisolve_server.certifier.arithmetic import Interval
from certisolve_server.certifier.domain import Boxes, values
from certisolve_server.certifier.graph.node import Graph
from certisolve_server.certifier.interpreter import values_along
from certisolve_server.certifier.rules import Abstraction

from .sizes import frobenius


@dataclass(frozen=True, eq=False)
class Center:
    """What each node is where the results of all those in `off` are floats nearby.

    Args:
        values: of all nodes and inputs, (1, *shape).
        off: of each result that was replaced by floats, at least how far they are from it in l2.
    """

    values: Mapping[str, Interval]
    off: Mapping[str, float]


def center_at(graph: Graph, point: Boxes, results: frozenset[str]) -> Center:
    """The values of a graph at a point.

    Args:
        graph: of the map.
        point: one.
        results: nodes after which values start afresh.

    Raises:
        NotCertified: some node has no bound there.
    """
    off: dict[str, float] = {}

    def afresh(name: str, abstraction: Abstraction) -> Abstraction:
        if name in results:
            middle, radius = abstraction.value.midpoint_radius()
            off[name] = frobenius(radius)
            return Abstraction(Interval.exact(middle), abstraction.jacobian)
        return abstraction

    return Center(values_along(graph, values(point), afresh), off)

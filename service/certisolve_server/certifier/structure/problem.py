"""The layers of a problem: of its graph, on its region, in its norms."""

from certisolve_server.certifier.domain import Boxes
from certisolve_server.certifier.errors import NotCertified
from certisolve_server.certifier.graph.node import Graph
from certisolve_server.certifier.problem import Problem

from .fuse import fuse
from .known import TooLarge
from .layered import Layered
from .operators import Operators, operators_of
from .values import values_of


def layers_of(problem: Problem) -> Layered:
    """Fused, with the slopes that functions have on the region, and the weights of the norms.

    Raises:
        NotCertified: it is a flow, or its layers are not bounded or too large.
        UnsupportedOperator: a rule does not hold for some arguments.
    """
    graph = problem.require_map()
    if problem.boxes is not None:
        _require_small(graph, problem.boxes)
    return fuse(graph, values_of(problem)).weighted(problem.norms)


def _require_small(graph: Graph, boxes: Boxes) -> None:
    """Finds out quickly what is too large; where values lie takes longer."""
    try:
        fuse(graph, boxes.sides)
    except TooLarge:
        raise
    except NotCertified:
        # Sharper values may do.
        return


def operators_of_problem(problem: Problem) -> Operators:
    """The same where matrices would be too large; without weights.

    Raises:
        NotCertified: an operator of the graph has no structure that is known.
        UnsupportedOperator: a rule does not hold for some arguments.
    """
    graph = problem.require_map()
    if problem.boxes is None:
        return operators_of(graph)
    operators_of(graph, problem.boxes.sides)
    return operators_of(graph, values_of(problem))

"""Slopes of functions of one number where their arguments lie."""

from certisolve_server.certifier.arithmetic import Interval, NotABound, OutsideDomain
from certisolve_server.certifier.chains import Slopes
from certisolve_server.certifier.errors import NotCertified
from certisolve_server.certifier.graph.node import Node
from certisolve_server.certifier.rules.pointwise import FUNCTIONS


def slopes_of(node: Node, x: Interval) -> Slopes:
    """Entry by entry, flattened.

    Args:
        node: of an operator of `FUNCTIONS`.
        x: where its argument lies, (1, *shape).

    Raises:
        NotCertified: they are unbounded there.
    """
    parameters = {name: value for name, value in node.arguments.items() if name != "self"}
    try:
        slopes = FUNCTIONS[node.operator](**parameters).derivative(x)
    except (NotABound, OutsideDomain) as error:
        message = f"{node.operator} at node {node.name!r} has no slopes: {error}"
        raise NotCertified(message) from error
    if not bool(slopes.magnitude.isfinite().all()):
        raise NotCertified(f"{node.operator} at node {node.name!r} is not Lipschitz on the set")
    return Slopes(slopes.lower.flatten(), slopes.upper.flatten())

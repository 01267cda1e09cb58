"""Constants of constants: what does not depend on the varying inputs, computed beforehand.

In intervals, not in float32: the program rounds where it computes a table of sines, and the map on
the reals that is certified does not. Integers are exact or left alone.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TypeAlias

from certisolve_server.certifier.arithmetic import Interval

from .integers import as_constant, evaluate_integers
from .node import Constant, Graph, Node, live

#: From a node and the constants it refers to, to an enclosure of its result; None: not computable.
Evaluate: TypeAlias = Callable[[Node, Mapping[str, Constant]], Interval | None]


def fold(graph: Graph, evaluate: Evaluate) -> Graph:
    """The same map, its constant nodes replaced by constants and the dead ones gone.

    A node that cannot be evaluated stays, to be recognised as part of a pattern or refused; so
    does one of several results, whose parts are computed anew with every walk.
    """
    constants = dict(graph.constants)
    nodes = []
    for node in graph.nodes:
        folded = _fold(node, constants, evaluate)
        if folded is None:
            nodes.append(node)
        else:
            constants[node.name] = folded
    folded_graph = Graph(graph.inputs, MappingProxyType(constants), tuple(nodes), graph.output)
    return live(folded_graph)


def _fold(node: Node, constants: Mapping[str, Constant], evaluate: Evaluate) -> Constant | None:
    if any(ref.name not in constants for ref in node.refs):
        return None
    if node.kind in ("integer", "boolean"):
        exact = evaluate_integers(node, constants)
        return None if exact is None else as_constant(node, exact)
    value = evaluate(node, constants)
    return None if value is None else Constant(node.name, value, node.kind)

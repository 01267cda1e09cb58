"""Layers of Kolmogorov-Arnold networks, recognised behind their recognised bases.

    y_o = sum_i phi_oi(x_i),    phi_oi(x) = w_io silu(x) + sum_m c_imo B_m(x)

(Liu et al., KAN: Kolmogorov-Arnold Networks, 2024) arrive as two matrix products, of all bases with
all coefficients and of silu(x) with w. Between B-splines that each are bounded by themselves all
cancellation is lost; as functions on edges, which are put in their place, nothing is.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import torch

from certisolve_server.certifier.arithmetic import Interval

from .node import Argument, Constant, Graph, Node, Ref, live
from .splines import BASIS

#: The operator of the node that is put in: all edge functions at `x`, which are summed up after it.
EDGES = "certisolve.spline_edges"

_MAX_DEGREE = 3


def recognise_edges(graph: Graph) -> Graph:
    """The same map with layers of bases, coefficients and silu as edges and a sum over them."""
    finder = _Finder(graph)
    constants = dict(graph.constants)
    nodes: list[Node] = []
    for node in graph.nodes:
        layer = finder.layer(node)
        if layer is None:
            nodes.append(node)
            continue
        edges = f"{node.name}.edges"
        base = f"{node.name}.base"
        if layer.base is None:
            constants[base] = Constant(base, Interval.exact(torch.zeros(layer.shape)), "real")
        nodes += layer.nodes(node, edges, layer.base or Ref(base))
    replaced = Graph(graph.inputs, MappingProxyType(constants), tuple(nodes), graph.output)
    return live(replaced)


@dataclass(frozen=True)
class _Layer:
    """What was found.

    Args:
        basis: of x.
        x: (rows, inputs).
        coefficients: (inputs * members, outputs).
        shape: (inputs, outputs).
        base: w, None for zeros.
    """

    basis: Node
    x: Ref
    coefficients: Ref
    shape: tuple[int, int]
    base: Ref | None = None

    def nodes(self, node: Node, edges: str, base: Ref) -> list[Node]:
        """All edge functions, and their sums under the name of the node that gave them."""
        arguments: dict[str, Argument] = {
            "x": self.x,
            "knots": self.basis.arguments["knots"],
            "coefficients": self.coefficients,
            "base": base,
            "degree": self.basis.arguments["degree"],
        }
        rows = node.shape[0]
        of_edges = Node(edges, EDGES, MappingProxyType(arguments), (rows, *self.shape), node.kind)
        summed: dict[str, Argument] = {
            "self": Ref(edges),
            "dim": (1,),
            "keepdim": False,
            "dtype": None,
        }
        operator = "aten.sum.dim_IntList"
        return [
            of_edges,
            Node(node.name, operator, MappingProxyType(summed), node.shape, node.kind),
        ]


class _Finder:
    def __init__(self, graph: Graph) -> None:
        self._nodes: Mapping[str, Node] = {node.name: node for node in graph.nodes}
        self._constants = graph.constants

    def layer(self, node: Node) -> _Layer | None:
        """The layer that a node gives the result of: of both products, or of the first alone."""
        if node.operator == "aten.mm.default":
            return self._of_bases(node)
        if node.operator != "aten.addmm.default" or self._is_scaled(node):
            return None
        bases = self._node(node.arguments["self"])
        layer = None if bases is None else self._of_bases(bases)
        silu = self._node(node.arguments["mat1"])
        base = node.arguments["mat2"]
        if layer is None or silu is None or silu.operator != "aten.silu.default":
            return None
        if not isinstance(base, Ref) or self._shape(base) != layer.shape:
            return None
        if silu.arguments["self"] != layer.x:
            return None
        return replace(layer, base=base)

    def _of_bases(self, node: Node) -> _Layer | None:
        """mm(flatten(basis), coefficients)."""
        if node.operator != "aten.mm.default":
            return None
        flat, coefficients = self._node(node.arguments["self"]), node.arguments["mat2"]
        basis = None if flat is None else self._flattened(flat)
        if basis is None or not isinstance(coefficients, Ref):
            return None
        x = self._column(basis)
        stored = self._shape(coefficients)
        if x is None or stored is None or stored[0] != basis.shape[1] * basis.shape[2]:
            return None
        return _Layer(basis, x, coefficients, (basis.shape[1], stored[1]))

    def _is_scaled(self, node: Node) -> bool:
        return node.arguments["beta"] != 1 or node.arguments["alpha"] != 1

    def _flattened(self, flat: Node) -> Node | None:
        """The basis of (rows, inputs, members), of which `flat` joins the last two axes."""
        shaping = ("aten.flatten.using_ints", "aten.reshape.default", "aten.view.default")
        basis = self._node(flat.arguments["self"]) if flat.operator in shaping else None
        if basis is None or basis.operator != BASIS or len(basis.shape) != 3:
            return None
        rows, inputs, members = basis.shape
        degree = basis.arguments["degree"]
        usable = isinstance(degree, int) and degree <= _MAX_DEGREE
        knots = basis.arguments["knots"]
        stored = self._shape(knots) if isinstance(knots, Ref) else None
        # A row of knots for each input; one row for several is another shape of the same numbers.
        per_input = stored is not None and len(stored) == 2 and stored[0] == inputs
        return basis if usable and per_input and flat.shape == (rows, inputs * members) else None

    def _column(self, basis: Node) -> Ref | None:
        """The (rows, inputs) that the basis is of, behind an axis of one."""
        column = self._node(basis.arguments["x"])
        if column is None or column.operator != "aten.unsqueeze.default":
            return None
        x = column.arguments["self"]
        is_last = column.arguments["dim"] in (2, -1) and column.shape == (*basis.shape[:2], 1)
        return x if isinstance(x, Ref) and is_last else None

    def _node(self, argument: Argument) -> Node | None:
        return self._nodes.get(argument.name) if isinstance(argument, Ref) else None

    def _shape(self, ref: Ref) -> tuple[int, ...] | None:
        """Of a constant that is known to the last bit."""
        constant = self._constants.get(ref.name)
        if constant is None or constant.kind != "real" or not constant.value.is_exact:
            return None
        return tuple(constant.value.shape)

"""B-spline bases written out as gates and the recursion of Cox and de Boor, recognised as bases.

A program that computes them compares its input with knots, which jumps, and blends degree by degree
what the comparisons gave:

    B_{m,0}(x) = 1 where t_m <= x < t_{m+1}, else 0
    B_{m,d}(x) = (x - t_m)/(t_{m+d} - t_m) B_{m,d-1}(x)
               + (t_{m+d+1} - x)/(t_{m+d+1} - t_{m+1}) B_{m+1,d-1}(x)

(de Boor, A Practical Guide to Splines, 1978, chapter X). Of degree d >= 1 and with knots that grow
strictly these are continuous, piecewise polynomial and zero outside of the knots. Recognised is
that graph alone, node by node, with each constant compared with the knots bit by bit: what is put
in its place is the same function on the reals.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor

from certisolve_server.certifier.arithmetic import Interval

from .node import Argument, Constant, Graph, Node, Ref, live

#: The operator of the node that is put in: the basis of degree `degree` over `knots` at `x`.
BASIS = "certisolve.bspline_basis"


@dataclass(frozen=True)
class _Basis:
    """What a node was recognised to be: all B-splines of a degree, at the value of a node."""

    x: Ref
    knots: Tensor
    degree: int


def recognise_splines(graph: Graph) -> Graph:
    """The same map with each basis of degree 1 or more as one node.

    Constants that are rearranged stored ones have to be folded, differences of them not yet: only
    so is it known that a divisor is a difference of knots, and not some number close to it.
    """
    matcher = _Matcher(graph)
    constants = dict(graph.constants)
    nodes = []
    for node in graph.nodes:
        basis = matcher.match(Ref(node.name))
        if basis is None or basis.degree < 1:
            nodes.append(node)
            continue
        knots = f"{node.name}.knots"
        constants[knots] = Constant(knots, Interval.exact(basis.knots), "real")
        nodes.append(_basis_node(node, basis, knots))
    replaced = Graph(graph.inputs, MappingProxyType(constants), tuple(nodes), graph.output)
    return live(replaced)


def _basis_node(node: Node, basis: _Basis, knots: str) -> Node:
    arguments: dict[str, Argument] = {"x": basis.x, "knots": Ref(knots), "degree": basis.degree}
    return Node(node.name, BASIS, MappingProxyType(arguments), node.shape, node.kind)


class _Matcher:
    """Reads a graph upwards from a node; what it has recognised, it remembers."""

    def __init__(self, graph: Graph) -> None:
        self._nodes: Mapping[str, Node] = {node.name: node for node in graph.nodes}
        self._constants = graph.constants
        self._known: dict[str, _Basis | None] = {}

    def match(self, ref: object) -> _Basis | None:
        """What a node is, if it is a basis."""
        if not isinstance(ref, Ref) or ref.name not in self._nodes:
            return None
        if ref.name not in self._known:
            node = self._nodes[ref.name]
            self._known[ref.name] = self._indicators(node) or self._blend(node)
        return self._known[ref.name]

    def _indicators(self, node: Node) -> _Basis | None:
        """B_{m,0}: both comparisons with neighbouring knots, as numbers."""
        both = self._of(node, "aten.to.dtype", "self")
        above = self._called(both, "aten.__and__.Tensor", "self")
        below = self._called(both, "aten.__and__.Tensor", "other")
        if above is None or below is None or node.kind != "real":
            return None
        if above.operator != "aten.ge.Tensor" or below.operator != "aten.lt.Tensor":
            return None
        starts, ends = self._exact(above, "other"), self._exact(below, "other")
        x = above.arguments["self"]
        if starts is None or ends is None or below.arguments["self"] != x:
            return None
        return _indicators_of(x, starts, ends)

    def _blend(self, node: Node) -> _Basis | None:
        """B_{m,d} from B_{m,d-1}, where `node` adds both halves."""
        if node.operator != "aten.add.Tensor" or node.arguments["alpha"] != 1:
            return None
        left = self._half(node.arguments["self"], rising=True)
        right = self._half(node.arguments["other"], rising=False)
        if left is None or right is None or left.x != right.x or left.degree != right.degree:
            return None
        return left if torch.equal(left.knots, right.knots) else None

    def _half(self, ref: object, rising: bool) -> _Basis | None:
        """One ramp times the basis of one degree less, without its last or its first member."""
        ramp, part = self._operands(ref, "aten.mul.Tensor")
        lower = self._sliced(part, drop_last=rising)
        if lower is None:
            return None
        basis = _Basis(lower.x, lower.knots, lower.degree + 1)
        return basis if self._is_ramp(ramp, basis, rising) else None

    def _is_ramp(self, ref: object, basis: _Basis, rising: bool) -> bool:
        t, d = basis.knots, basis.degree
        count = t.shape[-1]
        numerator, divisor = self._operands(ref, "aten.div.Tensor")
        if rising:
            start, end = t[..., : -(d + 1)], t[..., d:-1]
            from_knot = self._differs(numerator, basis.x, start)
        else:
            start, end = t[..., 1 : count - d], t[..., d + 1 :]
            from_knot = self._differs(numerator, end, basis.x)
        return from_knot and self._differs(divisor, end, start)

    def _differs(self, ref: object, minuend: Ref | Tensor, subtrahend: Ref | Tensor) -> bool:
        """Whether a node is `minuend - subtrahend`."""
        node = self._nodes.get(ref.name) if isinstance(ref, Ref) else None
        if node is None or node.operator != "aten.sub.Tensor" or node.arguments["alpha"] != 1:
            return False
        return self._is(node, "self", minuend) and self._is(node, "other", subtrahend)

    def _is(self, node: Node, name: str, expected: Ref | Tensor) -> bool:
        if isinstance(expected, Ref):
            return node.arguments[name] == expected
        stored = self._exact(node, name)
        return stored is not None and torch.equal(stored, expected)

    def _sliced(self, ref: object, drop_last: bool) -> _Basis | None:
        node = self._nodes.get(ref.name) if isinstance(ref, Ref) else None
        if node is None or node.operator != "aten.slice.Tensor":
            return None
        basis = self.match(node.arguments["self"])
        if basis is None:
            return None
        members = basis.knots.shape[-1] - 1 - basis.degree
        kept = range(members)[_slice(node)]
        wanted = range(members - 1) if drop_last else range(1, members)
        rank = len(node.shape)
        along = node.arguments["dim"]
        is_last = isinstance(along, int) and along % rank == rank - 1
        return basis if is_last and kept == wanted else None

    def _operands(self, ref: object, operator: str) -> tuple[object, object]:
        node = self._nodes.get(ref.name) if isinstance(ref, Ref) else None
        if node is None or node.operator != operator:
            return None, None
        return node.arguments["self"], node.arguments["other"]

    def _of(self, node: Node, operator: str, name: str) -> Node | None:
        """The node that an argument refers to, of a node with this operator."""
        if node.operator != operator:
            return None
        ref = node.arguments[name]
        return self._nodes.get(ref.name) if isinstance(ref, Ref) else None

    def _called(self, node: Node | None, operator: str, name: str) -> Node | None:
        return None if node is None else self._of(node, operator, name)

    def _exact(self, node: Node, name: str) -> Tensor | None:
        """A constant argument, if it is known to the last bit."""
        ref = node.arguments[name]
        constant = self._constants.get(ref.name) if isinstance(ref, Ref) else None
        exact = constant is not None and constant.kind == "real" and constant.value.is_exact
        return constant.value.lower if constant is not None and exact else None


def _indicators_of(x: object, starts: Tensor, ends: Tensor) -> _Basis | None:
    """Degree 0 over the knots, if each interval ends where the next one starts."""
    if not isinstance(x, Ref) or starts.shape != ends.shape or starts.ndim == 0:
        return None
    knots = torch.cat([starts, ends[..., -1:]], -1)
    grows = bool((knots[..., 1:] > knots[..., :-1]).all())
    joined = torch.equal(starts[..., 1:], ends[..., :-1])
    return _Basis(x, knots, 0) if grows and joined else None


def _slice(node: Node) -> slice:
    start, end, step = (node.arguments[name] for name in ("start", "end", "step"))
    numbers = (each if isinstance(each, int) else None for each in (start, end, step))
    return slice(*numbers)

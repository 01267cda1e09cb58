"""The network of a graph, by the rules of its operators.

Each rule promises that differences of results are differences of operands times matrices within
the Jacobians that it gives (see `rules.abstraction`). Where nothing is assumed of the operands'
values and those matrices are known to rounding, the operator is affine: its result is that at 0
plus a matrix times the operand. So no list of affine operators is needed, and none that is only
nearly affine gets through: its matrices are wide and it is refused.

The larger of two numbers is y + max(x - y, 0), the smaller x - max(x - y, 0).
"""

import math
from types import MappingProxyType
from typing import Any

import torch

from certisolve_server.certifier import functions
from certisolve_server.certifier.arithmetic import Interval, concatenate
from certisolve_server.certifier.errors import NotCertified, UnsupportedOperator
from certisolve_server.certifier.functions import Function
from certisolve_server.certifier.graph.node import Graph, Node
from certisolve_server.certifier.graph.runs import largest_run
from certisolve_server.certifier.interpreter import apply
from certisolve_server.certifier.rules import Abstraction, Declined, constant
from certisolve_server.certifier.rules.arithmetic import add, subtract
from certisolve_server.certifier.rules.pointwise import FUNCTIONS

from .network import Affine, Layer, Matrix, Network

#: Of a matrix between two sources; larger ones are not made.
MOST_ELEMENTS = 1 << 22

#: How wide a matrix of an affine operator may be, of 1 and the size of its largest element.
_ROUNDING = 1e-9

_COMPARISONS = frozenset({"aten.maximum.default", "aten.minimum.default"})


def read(graph: Graph) -> Network:
    """The network that computes what the graph does.

    Raises:
        UnsupportedOperator: an operator is neither affine nor a function of one number.
        NotCertified: a matrix is too large.
    """
    _require_elements(largest_run(graph, FUNCTIONS))
    walk = _Walk(graph)
    for node in graph.nodes:
        walk.advance(node)
    return walk.network()


class _Walk:
    """Of each node so far: its matrices from every source, and its value where all those are 0."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._sources: list[list[tuple[str, int]]] = [[]]
        self._layers: list[tuple[Function, Abstraction, Abstraction]] = []
        constants = {name: constant(each.value) for name, each in graph.constants.items()}
        self._anywhere: dict[str, Any] = dict(constants)
        self._at_zero: dict[str, Any] = dict(constants)
        for each in graph.inputs:
            self._sources[0].append((each.name, math.prod(each.shape)))
            self._begin(each.name, each.shape)

    def advance(self, node: Node) -> None:
        """One node further."""
        varies = [ref.name for ref in node.refs if _varies(self._anywhere[ref.name])]
        if varies and node.operator in FUNCTIONS:
            self._add_layer(node.name, node.shape, _function(node), node.refs[0].name)
        elif varies and node.operator in _COMPARISONS:
            self._compare(node)
        else:
            self._anywhere[node.name] = apply(node, self._anywhere)
            self._at_zero[node.name] = apply(node, self._at_zero)
            _require_affine(node, self._anywhere[node.name])

    def network(self) -> Network:
        """All layers, and the output."""
        layers = tuple(
            Layer(function, self._affine(anywhere, at_zero))
            for function, anywhere, at_zero in self._layers
        )
        output = self._anywhere[self._graph.output]
        if not isinstance(output, Abstraction):
            raise UnsupportedOperator("the output", self._graph.output, "is not one tensor")
        inputs = sum(size for _, size in self._sources[0])
        return Network(inputs, layers, self._affine(output, self._at_zero[self._graph.output]))

    def _compare(self, node: Node) -> None:
        x, y = (node.arguments[name].name for name in ("self", "other"))  # type: ignore[union-attr]
        gap, positive = f"{node.name}:difference", f"{node.name}:positive"
        for known in (self._anywhere, self._at_zero):
            known[gap] = subtract(known[x], known[y], 1.0)
        self._add_layer(positive, node.shape, functions.find("relu"), gap)
        for known in (self._anywhere, self._at_zero):
            larger = node.operator == "aten.maximum.default"
            known[node.name] = (
                add(known[y], known[positive], 1.0)
                if larger
                else subtract(known[x], known[positive], 1.0)
            )

    def _add_layer(
        self, name: str, shape: tuple[int, ...], function: Function, operand: str
    ) -> None:
        self._layers.append((function, self._anywhere[operand], self._at_zero[operand]))
        self._sources.append([(name, math.prod(shape))])
        self._begin(name, shape)

    def _begin(self, name: str, shape: tuple[int, ...]) -> None:
        """A new source, of which nothing is assumed."""
        size = math.prod(shape)
        _require_elements(size * size)
        identity = torch.eye(size, dtype=torch.float64).reshape(1, size, *shape)
        slopes = MappingProxyType({name: Interval.exact(identity)})
        zero = Interval.exact(torch.zeros(1, *shape, dtype=torch.float64))
        self._anywhere[name] = Abstraction(Interval.entire((1, *shape)), slopes)
        self._at_zero[name] = Abstraction(zero)

    def _affine(self, anywhere: Abstraction, at_zero: Abstraction) -> Affine:
        rows = math.prod(anywhere.shape)
        maps = {}
        for number, parts in enumerate(self._sources):
            if any(name in anywhere.jacobian for name, _ in parts):
                columns = [_columns(anywhere, name, size, rows) for name, size in parts]
                maps[number] = Matrix(columns[0] if len(columns) == 1 else concatenate(columns, 1))
        offset = at_zero.value.rearranged(lambda ends: ends.reshape(rows))
        return Affine(MappingProxyType(maps), offset)


def _function(node: Node) -> Function:
    parameters = {name: each for name, each in node.arguments.items() if name != "self"}
    try:
        return FUNCTIONS[node.operator](**parameters)
    except Declined as declined:
        raise UnsupportedOperator(node.operator, node.name, str(declined)) from declined


def _varies(known: object) -> bool:
    parts = known if isinstance(known, tuple) else (known,)
    return any(isinstance(each, Abstraction) and bool(each.jacobian) for each in parts)


def _columns(x: Abstraction, name: str, size: int, rows: int) -> Interval:
    """(rows, entries of the source)."""
    _require_elements(size * rows)
    block = x.jacobian.get(name)
    if block is None:
        return Interval.exact(torch.zeros(rows, size, dtype=torch.float64))
    return block.rearranged(lambda ends: ends.reshape(size, rows).mT)


def _require_affine(node: Node, result: object) -> None:
    for part in result if isinstance(result, tuple) else (result,):
        for block in part.jacobian.values() if isinstance(part, Abstraction) else ():
            _require_elements(block.lower.numel())
            width = block.upper - block.lower
            # Terms may cancel, so that the largest is small; unbounded slopes are as wide as large.
            narrow = width <= _ROUNDING * block.magnitude.amax().clamp(min=1.0)
            if not bool((narrow & width.isfinite()).all()):
                reason = "is neither affine nor a function of one number"
                raise UnsupportedOperator(node.operator, node.name, reason)


def _require_elements(elements: int) -> None:
    if elements > MOST_ELEMENTS:
        raise NotCertified(f"an affine run has a matrix of {elements} elements, which is too large")

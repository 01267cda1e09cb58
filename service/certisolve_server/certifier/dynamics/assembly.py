"""Graphs put together from graphs and operators, equal parts once.

What is the same operator on the same operands is one node, and what depends on nothing that varies
is one constant. Some identities of real numbers are used as well, since intervals do not see them:
x - x = 0, 0 x = 0, x + 0 = x. An observer that equals what it observes corrects nothing, and then
is not there. A product with a matrix that is written out, as entries times entries and their sum,
is one node.
"""

import hashlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import TypeAlias

import torch

from certisolve_server.certifier.arithmetic import Interval
from certisolve_server.certifier.errors import InvalidRequest, NotCertified, UnsupportedOperator
from certisolve_server.certifier.graph.node import (
    Argument,
    Constant,
    Graph,
    Input,
    Kind,
    Node,
    Ref,
    live,
)
from certisolve_server.certifier.interpreter import evaluate, evaluate_exactly

_Key: TypeAlias = tuple[object, ...]


class Assembly:
    """A graph as it grows.

    Arguments:
        inputs: that vary.
        literal: whether each operator stays as it is, and what it computes of constants, too: in
            graphs of what is executed, where it rounds each time.
    """

    def __init__(self, *inputs: Input, literal: bool = False) -> None:
        self._inputs, self._literal = inputs, literal
        self._shapes = {each.name: each.shape for each in inputs}
        self._nodes: list[Node] = []
        self._by_name: dict[str, Node] = {}
        self._constants: dict[str, Constant] = {}
        #: Names of what is there already, by what it is.
        self._known: dict[_Key, str] = {}
        #: Constants whose contents were looked at; kept, so that no other takes their place.
        self._seen: dict[int, tuple[Interval, str]] = {}

    def shape(self, name: str) -> tuple[int, ...]:
        """Of a value that is there."""
        return self._shapes[name]

    def constant(self, value: Interval, name: str = "constant", kind: Kind = "real") -> str:
        """The name under which a constant is there from now on."""
        seen = self._seen.get(id(value))
        if seen is not None:
            return seen[1]
        key = (kind, tuple(value.shape), _digest(value))
        if key not in self._known:
            self._known[key] = free = self._free(name)
            self._constants[free] = Constant(free, value, kind)
            self._shapes[free] = tuple(value.shape)
        self._seen[id(value)] = (value, self._known[key])
        return self._known[key]

    def apply(
        self,
        operator: str,
        shape: tuple[int, ...],
        arguments: Mapping[str, Argument],
        name: str = "",
        kind: Kind = "real",
    ) -> str:
        """The name of an operator's result.

        Args:
            operator: as in `Node`.
            shape: of the result.
            arguments: every one of the schema, references by the names of this assembly.
            name: as which the node is known in messages.
            kind: of numbers.
        """
        node = Node(name or operator, operator, MappingProxyType(dict(arguments)), shape, kind)
        if self._literal:
            return self._computed(node)
        same = self._without_work(node)
        if same is not None:
            return same
        # 1, 1.0 and True are the same to a dictionary.
        key = (operator, shape, repr(tuple(node.arguments.items())))
        if key not in self._known:
            self._known[key] = self._computed(node)
        return self._known[key]

    def insert(self, graph: Graph, values: Mapping[str, str]) -> str:
        """The name of a graph's output, computed of values that are there.

        Args:
            graph: prepared.
            values: by its inputs.

        Raises:
            InvalidRequest: a value is missing or of another shape.
        """
        names = {}
        for each in graph.inputs:
            if each.name not in values or self.shape(values[each.name]) != each.shape:
                raise InvalidRequest(f"input {each.name!r} of a step is of the shape {each.shape}")
            names[each.name] = values[each.name]
        for constant in graph.constants.values():
            names[constant.name] = self.constant(constant.value, constant.name, constant.kind)
        for node in graph.nodes:
            arguments = {key: _renamed(value, names) for key, value in node.arguments.items()}
            names[node.name] = self.apply(
                node.operator, node.shape, arguments, node.name, node.kind
            )
        return names[graph.output]

    def graph(self, output: str) -> Graph:
        """What leads to one value; of an input or a constant, its copy."""
        if output not in self._by_name:
            shape = self.shape(output)
            copy = Node(self._free("copy"), "aten.clone.default", _copying(output), shape, "real")
            nodes = (*self._nodes, copy)
            output = copy.name
        else:
            nodes = tuple(self._nodes)
        return live(Graph(self._inputs, MappingProxyType(self._constants), nodes, output))

    def _without_work(self, node: Node) -> str | None:
        """What is known without the operator, if there is such."""
        if node.kind != "real":
            return None
        operands = [node.arguments.get(name) for name in ("self", "other")]
        x, y = (each.name if isinstance(each, Ref) else None for each in operands)
        if node.operator == "aten.zeros_like.default":
            return self._zeros(node.shape)
        if node.operator == "aten.sub.Tensor" and x is not None and x == y:
            return self._zeros(node.shape) if node.arguments.get("alpha", 1) == 1 else None
        if node.operator == "aten.mul.Tensor" and (self._is_zero(x) or self._is_zero(y)):
            return self._zeros(node.shape)
        if node.operator == "aten.add.Tensor" and node.arguments.get("alpha", 1) == 1:
            for kept, nothing in ((x, y), (y, x)):
                if kept and self._is_zero(nothing) and self.shape(kept) == node.shape:
                    return kept
        return self._product(node)

    def _product(self, node: Node) -> str | None:
        """X W^T of x, (1, in), where the node is the sum of what x[:, None] times W is."""
        if node.operator != "aten.sum.dim_IntList" or node.arguments["dim"] not in ((-1,), (2,)):
            return None
        product = self._operand(node, "self", "aten.mul.Tensor")
        spread = self._operand(product, "self", "aten.unsqueeze.default")
        if product is None or spread is None or spread.arguments["dim"] != 1:
            return None
        vector, matrix = spread.arguments["self"], product.arguments["other"]
        assert isinstance(vector, Ref)
        if not isinstance(matrix, Ref) or matrix.name not in self._constants:
            return None
        size = self.shape(vector.name)[-1]
        is_product = self.shape(vector.name) == (1, size) and node.shape == (
            1,
            self.shape(matrix.name)[0],
        )
        if not is_product or self.shape(matrix.name) != (node.shape[1], size):
            return None
        arguments: dict[str, Argument] = {"input": vector, "weight": matrix, "bias": None}
        return self.apply("aten.linear.default", node.shape, arguments, node.name)

    def _operand(self, node: Node | None, name: str, operator: str) -> Node | None:
        """The node that an argument refers to, if it applies that operator."""
        ref = node.arguments.get(name) if node is not None else None
        found = self._by_name.get(ref.name) if isinstance(ref, Ref) else None
        return found if found is not None and found.operator == operator else None

    def _computed(self, node: Node) -> str:
        value = self._value(node)
        if value is not None:
            return self.constant(value, node.name, node.kind)
        name = self._free(node.name)
        self._nodes.append(Node(name, node.operator, node.arguments, node.shape, node.kind))
        self._by_name[name] = self._nodes[-1]
        self._shapes[name] = node.shape
        return name

    def _value(self, node: Node) -> Interval | None:
        """Of a node of constants."""
        refs = node.refs
        if not refs or any(ref.name not in self._constants for ref in refs):
            return None
        try:
            read = evaluate_exactly if self._literal else evaluate
            return read(node, self._constants)
        except (NotCertified, UnsupportedOperator):
            # As a node it is told where it fails, by whoever goes through it.
            return None

    def _zeros(self, shape: tuple[int, ...]) -> str:
        return self.constant(Interval.exact(torch.zeros(shape, dtype=torch.float64)), "zeros")

    def _is_zero(self, name: str | None) -> bool:
        constant = self._constants.get(name or "")
        return constant is not None and not bool(constant.value.magnitude.any())

    def _free(self, name: str) -> str:
        """As it is, or with the first number that is free."""
        if name not in self._shapes:
            return name
        stem, number = name.partition("@")[0], len(self._shapes)
        while f"{stem}@{number}" in self._shapes:
            number += 1
        return f"{stem}@{number}"


def _copying(name: str) -> Mapping[str, Argument]:
    return MappingProxyType({"self": Ref(name), "memory_format": None})


def _renamed(argument: Argument, names: Mapping[str, str]) -> Argument:
    if isinstance(argument, Ref):
        return Ref(names[argument.name])
    if isinstance(argument, tuple):
        return tuple(_renamed(item, names) for item in argument)
    return argument


def _digest(value: Interval) -> bytes:
    sha = hashlib.sha256(value.lower.contiguous().numpy().tobytes())
    sha.update(value.upper.contiguous().numpy().tobytes())
    return sha.digest()

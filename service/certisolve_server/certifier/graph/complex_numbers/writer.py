"""The real graph while it is written, and what is read of the nodes that it is written for."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TypeAlias

from certisolve_server.certifier.arithmetic import Interval
from certisolve_server.certifier.graph.node import Argument, Constant, Graph, Kind, Node, Ref


@dataclass
class Writer:
    """The nodes so far.

    Args:
        constants: those of the graph, and what is added to them.
        shapes: by name, of complex tensors without the axis of parts.
        kinds: by name, as they are in the graph that is read.
        nodes: of real tensors, but for those that have no such form.
    """

    constants: dict[str, Constant]
    shapes: Mapping[str, tuple[int, ...]]
    kinds: Mapping[str, Kind]
    nodes: list[Node] = field(default_factory=list)

    @classmethod
    def of(cls, graph: Graph) -> "Writer":
        """With no nodes yet."""
        constants = graph.constants
        shapes = {name: _shape(each) for name, each in constants.items()}
        shapes |= {each.name: each.shape for each in graph.inputs}
        shapes |= {node.name: node.shape for node in graph.nodes}
        kinds: dict[str, Kind] = {name: each.kind for name, each in constants.items()}
        kinds |= {each.name: "real" for each in graph.inputs}
        kinds |= {node.name: node.kind for node in graph.nodes}
        return cls(dict(constants), shapes, kinds)

    def is_complex(self, argument: Argument) -> bool:
        """Whether it is a complex tensor in the graph that is read."""
        return isinstance(argument, Ref) and self.kinds[argument.name] == "complex"

    def put(
        self, name: str, operator: str, shape: tuple[int, ...], /, **arguments: Argument
    ) -> Ref:
        """One more real node."""
        self.nodes.append(Node(name, operator, MappingProxyType(arguments), shape, "real"))
        return Ref(name)

    def keep(self, node: Node) -> None:
        """A node as it is, to be gone through or refused by its name."""
        self.nodes.append(node)

    def constant(self, name: str, value: Interval) -> Ref:
        """One more real constant."""
        self.constants[name] = Constant(name, value, "real")
        return Ref(name)


def _shape(constant: Constant) -> tuple[int, ...]:
    shape = tuple(constant.value.shape)
    return shape[:-1] if constant.kind == "complex" else shape


#: Writes for a node what computes the same, or keeps it.
Rewrite: TypeAlias = Callable[[Node, Writer], None]


def reference(node: Node, name: str) -> Ref:
    """An argument that is a tensor."""
    argument = node.arguments[name]
    assert isinstance(argument, Ref)
    return argument


def axis_of(dim: Argument, rank: int) -> int:
    """Counted from the first one."""
    assert isinstance(dim, int)
    return dim % rank

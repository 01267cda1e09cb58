"""The graph that is certified: a value, in the order in which it is evaluated."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, TypeAlias

import torch

from certisolve_server.certifier.arithmetic import Interval
from certisolve_server.certifier.errors import InvalidRequest

#: What numbers a tensor holds; floating point of any width stands for real numbers. Integers other
#: than int64 wrap around where int64 does not, and are something else.
Kind: TypeAlias = Literal["real", "integer", "boolean", "complex", "other"]


@dataclass(frozen=True)
class Ref:
    """The value of another node, of a constant or of an input."""

    name: str


Argument: TypeAlias = "Ref | bool | int | float | str | tuple[Argument, ...] | None"


@dataclass(frozen=True)
class Node:
    """One operator applied: every argument of its schema by name, defaults written out.

    `operator` is the ATen overload, as in `aten.add.Tensor`, or the name of a recognised pattern.
    `shape` is that of the result, of one request; several results have the shape of the first.
    """

    name: str
    operator: str
    arguments: Mapping[str, Argument]
    shape: tuple[int, ...]
    kind: Kind

    @property
    def refs(self) -> tuple[Ref, ...]:
        return tuple(ref for value in self.arguments.values() for ref in refs_in(value))


@dataclass(frozen=True)
class Input:
    """A varying input: what the Lipschitz constant is with respect to."""

    name: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Constant:
    """A tensor known before the inputs are, enclosed: a point where no rounding made it wider."""

    name: str
    value: Interval
    kind: Kind


@dataclass(frozen=True)
class Graph:
    """A map from varying inputs to one output, over the reals.

    The float32 constants of the program are taken as the exact reals they are, every operator as
    the function on reals that it rounds; that map, not its execution in float32, is certified.
    """

    inputs: tuple[Input, ...]
    constants: Mapping[str, Constant]
    nodes: tuple[Node, ...]
    output: str

    def input(self, name: str) -> Input:
        """The varying input of that name.

        Raises:
            InvalidRequest: there is none.
        """
        for candidate in self.inputs:
            if candidate.name == name:
                return candidate
        raise InvalidRequest(f"{name!r} is not a varying input of the graph")


def refs_in(argument: Argument) -> Iterator[Ref]:
    """Every reference in an argument, also in lists of tensors."""
    if isinstance(argument, Ref):
        yield argument
    if isinstance(argument, tuple):
        for item in argument:
            yield from refs_in(item)


def live(graph: Graph) -> Graph:
    """The same map without the nodes and constants that do not reach the output."""
    needed = {graph.output}
    kept = []
    for node in reversed(graph.nodes):
        if node.name in needed:
            kept.append(node)
            needed.update(ref.name for ref in node.refs)
    constants = {name: each for name, each in graph.constants.items() if name in needed}
    nodes = tuple(reversed(kept))
    return Graph(graph.inputs, MappingProxyType(constants), nodes, graph.output)


def kind_of(dtype: torch.dtype) -> Kind:
    """What numbers a tensor of this type holds."""
    if dtype.is_floating_point:
        return "real"
    if dtype.is_complex:
        return "complex"
    known: dict[torch.dtype, Kind] = {torch.bool: "boolean", torch.int64: "integer"}
    return known.get(dtype, "other")

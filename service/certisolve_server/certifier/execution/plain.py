"""Plain float64 execution of a graph, for searches: fast, differentiable, and no proof of anything.

What a search finds with it is proven afterwards (see `falsify.proof`), so nothing here carries
rounding.
"""

import math
import operator
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import torch
from torch import Tensor

from certisolve_server.certifier.errors import UnsupportedOperator
from certisolve_server.certifier.graph.edges import EDGES
from certisolve_server.certifier.graph.node import Argument, Graph, Node, Ref
from certisolve_server.certifier.graph.splines import BASIS

from .splines import bspline_basis, spline_edges

#: From (batch, entries of all varying inputs) to (batch, entries of the output).
Executable: TypeAlias = Callable[[Tensor], Tensor]

#: Stands in for operators, by overload: called as they are, with tensors.
Replacements: TypeAlias = Mapping[str, Callable[..., Any]]

# Types and devices are settled: everything is float64 on the CPU.
_PLACING = frozenset({"device", "dtype", "layout", "memory_format", "pin_memory", "requires_grad"})
_CREATING = frozenset(
    {"aten.arange.default", "aten.arange.start", "aten.full.default", "aten.ones.default"}
    | {"aten.linspace.default", "aten.zeros.default"}
)


class Execution:
    """The map of a graph on points, its constants those in the middle of their bounds.

    Args:
        graph: from `prepare`.

    Raises:
        UnsupportedOperator: torch has no operator of some node.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._sizes = [math.prod(each.shape) for each in graph.inputs]
        self._calls = {node.operator: _callable(node) for node in graph.nodes}
        conditions = _conditions(graph)
        self._constants = {
            name: middle != 0 if name in conditions else middle
            for name, middle in (
                (name, each.value.midpoint_radius()[0]) for name, each in graph.constants.items()
            )
        }

    def function(self, replaced: Replacements | None = None) -> Executable:
        """The map on a batch of points, with other functions in place of some operators."""
        calls = self._calls | dict(replaced or {})
        return torch.func.vmap(lambda flat: self._on_one(flat, calls))

    def trace(self, flat: Tensor) -> Mapping[str, Any]:
        """Every constant and node at one point, by name."""
        return self._traced(flat, self._calls)

    def _on_one(self, flat: Tensor, calls: Replacements) -> Tensor:
        output: Tensor = self._traced(flat, calls)[self._graph.output]
        return output.flatten()

    def _traced(self, flat: Tensor, calls: Replacements) -> dict[str, Any]:
        known: dict[str, Any] = dict(self._constants)
        for each, part in zip(self._graph.inputs, torch.split(flat, self._sizes), strict=True):
            known[each.name] = part.reshape(each.shape)
        for node in self._graph.nodes:
            known[node.name] = calls[node.operator](**_arguments(node, known))
        return known


def _conditions(graph: Graph) -> set[str]:
    """The constants that are chosen by, which torch wants as booleans."""
    chosen = (node.arguments["condition"] for node in graph.nodes if _chooses(node))
    return {ref.name for ref in chosen if isinstance(ref, Ref)}


def _chooses(node: Node) -> bool:
    return node.operator == "aten.where.self"


def _arguments(node: Node, known: Mapping[str, Any]) -> dict[str, Any]:
    named = {
        name: _filled_in(value, known)
        for name, value in node.arguments.items()
        if name not in _PLACING
    }
    if node.operator in _CREATING:
        named["dtype"] = torch.float64
    return named


def _filled_in(argument: Argument, known: Mapping[str, Any]) -> Any:
    if isinstance(argument, Ref):
        return known[argument.name]
    if isinstance(argument, tuple):
        return [_filled_in(item, known) for item in argument]
    return argument


def _callable(node: Node) -> Callable[..., Any]:
    if node.operator in _OWN:
        return _OWN[node.operator]
    kind, name, *overload = node.operator.split(".")
    packet = getattr(torch.ops.aten, name, None) if kind == "aten" else None
    found = getattr(packet, overload[0], None) if packet is not None and overload else None
    if found is None:
        raise UnsupportedOperator(node.operator, node.name, "cannot be executed")
    called: Callable[..., Any] = found
    return called


def _same(self: Tensor, **_how: object) -> Tensor:
    return self


def _viewed(self: Tensor, size: list[int]) -> Tensor:
    return self.reshape(size)


def _slice_scattered(
    self: Tensor, src: Tensor, dim: int, start: int | None, end: int | None, step: int
) -> Tensor:
    """With an end that is one: of the largest integer there is no batch."""
    sides = slice(start, end, step).indices(self.shape[dim])
    written: Tensor = torch.ops.aten.slice_scatter.default(self, src, dim, *sides)
    return written


def _picked(argument_0: Any, argument_1: int) -> Any:
    return operator.getitem(argument_0, argument_1)


#: What is not called by its overload: other names, and what only places or copies.
_OWN: Replacements = {
    BASIS: bspline_basis,
    EDGES: spline_edges,
    "aten.clone.default": _same,
    "aten.contiguous.default": _same,
    "aten.detach.default": _same,
    "aten.slice_scatter.default": _slice_scattered,
    "aten.to.device": _same,
    "aten.to.dtype": _same,
    "aten.view.default": _viewed,
    "python.getitem": _picked,
}

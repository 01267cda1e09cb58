"""A vector field as tubes see it: values and slopes on flat boxes, many at a time."""

import math
from collections.abc import Callable, Generator
from types import MappingProxyType

import torch
from torch import Tensor

from certisolve_server.certifier.arithmetic import Interval, concatenate
from certisolve_server.certifier.domain import Boxes, seeds, values
from certisolve_server.certifier.errors import InvalidRequest
from certisolve_server.certifier.execution import Execution
from certisolve_server.certifier.graph.node import Graph
from certisolve_server.certifier.interpreter import interpret
from certisolve_server.certifier.methods.mean_value import enclose

#: Boxes that are looked at in one walk over the graph.
_CHUNK = 1024


class Field:
    """dx/dt = f(x), x and f flattened to n numbers.

    Arguments:
        graph: of one varying input and an output of as many entries.

    Raises:
        InvalidRequest: it has several inputs, or another number of entries.
        UnsupportedOperator: an operator cannot be executed.
    """

    def __init__(self, graph: Graph) -> None:
        if len(graph.inputs) != 1:
            raise InvalidRequest("the field of a flow has one varying input, its state")
        [self._input] = graph.inputs
        self.size = math.prod(self._input.shape)
        shape = next((node.shape for node in graph.nodes if node.name == graph.output), ())
        if math.prod(shape) != self.size:
            raise InvalidRequest(f"a field of {self.size} numbers returns as many, not {shape}")
        self._graph = graph
        self._call = Execution(graph).function()

    def __call__(self, points: Tensor) -> Tensor:
        """In plain floats, (points, n) to (points, n)."""
        return self._call(points)

    def values(self, boxes: Interval) -> Generator[None, None, Interval]:
        """The field on boxes, (..., n) to (..., n); pauses after each walk over the graph."""

        def of(flat: Interval) -> Interval:
            found = interpret(self._graph, values(self._boxes(flat))).value
            count = flat.shape[0]
            return found.rearranged(lambda ends: ends.flatten(1).expand(count, -1))

        return (yield from self._in_chunks(boxes, of))

    def slopes(self, boxes: Interval) -> Generator[None, None, Interval]:
        """Matrices of difference quotients of f on boxes, (..., n) to (..., n, n); pauses, too."""

        def of(flat: Interval) -> Interval:
            return enclose(self._graph, self._boxes(flat)).jacobian

        return (yield from self._in_chunks(boxes, of))

    def slopes_everywhere(self) -> Interval:
        """Those between any two points, (n, n); with infinite entries where there is no bound.

        Raises:
            NotCertified: some value has no bound at all.
        """
        whole = self._boxes(Interval.entire((1, self.size)))
        found = interpret(self._graph, seeds(whole)).jacobian
        if not found:
            return Interval.exact(torch.zeros(self.size, self.size, dtype=torch.float64))
        return found[self._input.name].rearranged(lambda ends: ends.reshape(self.size, self.size).T)

    def _in_chunks(
        self, boxes: Interval, of: Callable[[Interval], Interval]
    ) -> Generator[None, None, Interval]:
        leading = boxes.shape[:-1]
        flat = boxes.rearranged(lambda ends: ends.reshape(-1, self.size))
        lower, upper = (torch.split(ends, _CHUNK) for ends in (flat.lower, flat.upper))
        parts = []
        for ends in zip(lower, upper, strict=True):
            parts.append(of(Interval(*ends)))
            yield
        joined = parts[0] if len(parts) == 1 else concatenate(parts, 0)
        return joined.rearranged(lambda ends: ends.reshape(*leading, *ends.shape[1:]))

    def _boxes(self, flat: Interval) -> Boxes:
        shape = self._input.shape
        side = flat.rearranged(lambda ends: ends.reshape(-1, *shape))
        return Boxes(MappingProxyType({self._input.name: side}))

"""From nonlinearities of a graph to layers: those that do not wait for each other side by side."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from certisolve_server.certifier.arithmetic import Interval
from certisolve_server.certifier.chains import Folding, Slopes
from certisolve_server.certifier.errors import UnsupportedOperator
from certisolve_server.certifier.graph.node import Graph
from certisolve_server.certifier.rules import Abstraction, Jacobian

from .blocks import joined, zeros
from .layered import Layer, Layered, Maps


@dataclass(frozen=True, eq=False)
class Stage:
    """A nonlinearity of the graph, or a place where the walk began anew.

    Args:
        name: of it as a source.
        runs: the slopes of its argument with respect to each source, by name:
            (1, entries of the source, *shape).
        function: see `Layer`.
        shape: of its argument and of its result.
    """

    name: str
    runs: Jacobian
    function: Slopes | Folding | None
    shape: tuple[int, ...]

    @property
    def kind(self) -> tuple[str, int]:
        """What may be in one layer with it."""
        folds = isinstance(self.function, Folding)
        size = self.function.axes.shape[1] if isinstance(self.function, Folding) else 0
        return ("folding" if folds else type(self.function).__name__, size)


def assemble(graph: Graph, stages: Sequence[Stage], output: object) -> Layered:
    """The layers, each made of all nonlinearities of one depth and kind."""
    if not isinstance(output, Abstraction):
        raise UnsupportedOperator("the output", graph.output, "is not one tensor")
    sizes = {each.name: math.prod(each.shape) for each in graph.inputs}
    sizes.update((each.name, math.prod(each.shape)) for each in stages)
    varying = {each.name for each in graph.inputs}
    matrices = {}
    for stage in stages:
        found = _matrices(stage.runs, sizes, math.prod(stage.shape))
        matrices[stage.name] = {name: a for name, a in found.items() if name in varying}
        if matrices[stage.name]:
            varying.add(stage.name)
    groups = _groups([stage for stage in stages if stage.name in varying], matrices)
    sources = [[each.name for each in graph.inputs], *([each.name for each in g] for g in groups)]
    layers = []
    for group in groups:
        rows = [(sizes[each.name], matrices[each.name]) for each in group]
        layers.append(Layer(_joined(rows, sources, sizes), _function(group)))
    entries = math.prod(output.shape)
    last = _joined([(entries, _matrices(output.jacobian, sizes, entries))], sources, sizes)
    return Layered(sum(sizes[name] for name in sources[0]), tuple(layers), last, entries)


def _matrices(runs: Jacobian, sizes: Mapping[str, int], rows: int) -> dict[str, Interval]:
    """(rows, entries of the source), without sources that have no influence."""
    return {
        name: block.rearranged(lambda ends, n=sizes[name]: ends.reshape(n, rows).mT)  # type: ignore[misc]
        for name, block in runs.items()
        if bool(block.magnitude.any())
    }


def _groups(
    stages: Sequence[Stage], matrices: Mapping[str, Mapping[str, Interval]]
) -> list[list[Stage]]:
    """In an order in which each waits for earlier ones alone."""
    depth: dict[str, int] = {}
    groups: dict[tuple[int, tuple[str, int]], list[Stage]] = {}
    for stage in stages:
        depth[stage.name] = 1 + max(depth.get(name, 0) for name in matrices[stage.name])
        groups.setdefault((depth[stage.name], stage.kind), []).append(stage)
    return [groups[key] for key in sorted(groups)]


def _joined(
    rows: Sequence[tuple[int, Mapping[str, Interval]]],
    sources: Sequence[Sequence[str]],
    sizes: Mapping[str, int],
) -> Maps:
    """The maps of a layer, all its parts below each other, from each source of influence."""
    maps = {}
    for k, names in enumerate(sources):
        if any(name in blocks for _, blocks in rows for name in names):
            parts = [
                joined([blocks.get(name, zeros(count, sizes[name])) for name in names], 1)
                for count, blocks in rows
            ]
            maps[k] = joined(parts, 0)
    return maps


def _function(group: Sequence[Stage]) -> Slopes | Folding | None:
    functions = [stage.function for stage in group]
    slopes = [each for each in functions if isinstance(each, Slopes)]
    if slopes:
        least = torch.cat([each.least for each in slopes])
        return Slopes(least, torch.cat([each.most for each in slopes]))
    folds = [each for each in functions if isinstance(each, Folding)]
    return Folding(torch.cat([each.axes for each in folds])) if folds else None

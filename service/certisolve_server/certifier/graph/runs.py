"""How large matrices of affine runs would be, by shapes alone, before anything is multiplied."""

import math
from collections.abc import Collection

from .node import Graph


def largest_run(graph: Graph, nonlinear: Collection[str]) -> int:
    """Elements of the largest matrix between two nonlinearities, or an input and the first.

    Args:
        graph: with fixed shapes.
        nonlinear: operators at which runs end; whatever they take of several runs is one matrix
            from each.
    """
    sizes = {each.name: math.prod(each.shape) for each in graph.inputs}
    sources = {name: frozenset((name,)) for name in sizes}
    largest = 0
    for node in graph.nodes:
        found = frozenset[str]().union(*(sources.get(ref.name, ()) for ref in node.refs))
        if node.operator in nonlinear and found:
            sizes[node.name] = math.prod(node.shape)
            largest = max(largest, sizes[node.name] * max(sizes[name] for name in found))
            found = frozenset((node.name,))
        sources[node.name] = found
    return largest

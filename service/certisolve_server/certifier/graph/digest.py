"""The name of a graph: two graphs of one digest are the same map, constants to the last bit."""

import hashlib
import json
from collections.abc import Mapping

from .node import Argument, Graph, Ref


def digest(graph: Graph) -> str:
    """SHA-256, in hexadecimal, over inputs, nodes, the output and the bounds of each constant."""
    sha = hashlib.sha256()
    text = {
        "inputs": [(each.name, each.shape) for each in graph.inputs],
        "constants": [
            (name, each.kind, tuple(each.value.shape)) for name, each in graph.constants.items()
        ],
        "nodes": [
            (each.name, each.operator, _arguments(each.arguments), each.shape, each.kind)
            for each in graph.nodes
        ],
        "output": graph.output,
    }
    sha.update(json.dumps(text).encode())
    for each in graph.constants.values():
        for bound in (each.value.lower, each.value.upper):
            sha.update(bound.contiguous().numpy().tobytes())
    return sha.hexdigest()


def _arguments(arguments: Mapping[str, Argument]) -> list[tuple[str, object]]:
    return [(name, _plain(value)) for name, value in arguments.items()]


def _plain(argument: Argument) -> object:
    if isinstance(argument, Ref):
        return {"ref": argument.name}
    if isinstance(argument, tuple):
        return [_plain(item) for item in argument]
    # Infinity and -0.0 as text; True is not 1.
    return [type(argument).__name__, repr(argument)]

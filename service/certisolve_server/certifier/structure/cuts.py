"""Nodes that all paths from the inputs to the output go through."""

from certisolve_server.certifier.graph.node import Graph


def cuts(graph: Graph) -> frozenset[str]:
    """Names of the nodes after which nothing else that varies is needed any more, but the last."""
    last_use = {each.name: -1 for each in graph.inputs}
    for position, node in enumerate(graph.nodes):
        last_use[node.name] = position
        last_use.update((ref.name, position) for ref in node.refs if ref.name in last_use)
    last_use.pop(graph.output, None)
    needed_until = max((last_use.get(each.name, -1) for each in graph.inputs), default=-1)
    found = set()
    for position, node in enumerate(graph.nodes):
        last = last_use.get(node.name, position)
        if needed_until <= position < last:
            found.add(node.name)
        needed_until = max(needed_until, last)
    return frozenset(found)

"""Operators that move complex numbers, and those from and to their parts."""

from certisolve_server.certifier.graph.node import Argument, Node

from .writer import Rewrite, Writer, axis_of, reference


def moved(node: Node, writer: Writer) -> None:
    """With the axis of parts behind all; of complex tensors alone."""
    refs = node.refs
    if node.kind != "complex" or not all(writer.is_complex(ref) for ref in refs):
        writer.keep(node)
        return
    rank = len(writer.shapes[refs[0].name])
    adds_axis = node.operator in ("aten.unsqueeze.default", "aten.stack.default")
    arguments = {
        name: _with_parts(name, value, rank, rank + 1 if adds_axis else rank)
        for name, value in node.arguments.items()
    }
    writer.put(node.name, node.operator, (*node.shape, 2), **arguments)


def _with_parts(name: str, value: Argument, rank: int, places: int) -> Argument:
    """An argument as it is with one more axis at the end; `places` are those that dims count."""
    if name in ("dim", "dim0", "dim1", "start_dim", "end_dim") and isinstance(value, int):
        return axis_of(value, places)
    if name == "dims" and isinstance(value, tuple):
        return (*(axis_of(dim, rank) for dim in value), rank)
    if name in ("size", "shape") and isinstance(value, tuple):
        return (*value, 2)
    return value


def padded(node: Node, writer: Writer) -> None:
    """Zeros around, none of them along the axis of parts."""
    around, x = node.arguments["pad"], reference(node, "self")
    value, mode = node.arguments.get("value"), node.arguments.get("mode", "constant")
    if not isinstance(around, tuple) or value not in (None, 0) or mode != "constant":
        writer.keep(node)
        return
    of_parts: Argument = (0, 0, *around)
    zeros = "aten.constant_pad_nd.default"
    writer.put(node.name, zeros, (*node.shape, 2), self=x, pad=of_parts, value=0)


def part(index: int) -> Rewrite:
    """Real parts, 0, or imaginary ones, 1."""

    def take(node: Node, writer: Writer) -> None:
        x, last = reference(node, "self"), len(node.shape)
        writer.put(node.name, "aten.select.int", node.shape, self=x, dim=last, index=index)

    return take


def same(node: Node, writer: Writer) -> None:
    """view_as_real and view_as_complex: the pairs as they are."""
    x = reference(node, "self")
    shape = writer.shapes[x.name]
    pairs = (*shape, 2) if writer.is_complex(x) else shape
    writer.put(node.name, "aten.alias.default", pairs, self=x)

"""Operators of functional and decomposed graphs, complex or not, under the names that others have.

Only as far as no number is converted to another kind: what is copied into a tensor of integers is
cut off, and jumps.
"""

import torch

from certisolve_server.certifier.arithmetic import Interval
from certisolve_server.certifier.graph.node import Node, Ref

from .writer import Writer, axis_of, reference


def zeros(node: Node, writer: Writer) -> None:
    """Complex zeros."""
    if node.arguments.get("fill_value", 0) != 0:
        writer.keep(node)
        return
    pairs = torch.zeros((*node.shape, 2), dtype=torch.float64)
    writer.constant(node.name, Interval.exact(pairs))


def copied(node: Node, writer: Writer) -> None:
    """aten.copy: the source, in the shape of the target."""
    source = reference(node, "src")
    stays = node.kind in ("real", "complex")
    stays = stays and writer.is_complex(source) == (node.kind == "complex")
    if not stays or writer.shapes[source.name] != node.shape:
        writer.keep(node)
        return
    pairs = (*node.shape, 2) if node.kind == "complex" else node.shape
    writer.put(node.name, "aten.alias.default", pairs, self=source)


def scattered(node: Node, writer: Writer) -> None:
    """aten.slice_scatter: what is before, the source, what is behind."""
    base, source = reference(node, "self"), reference(node, "src")
    kinds = {node.kind, writer.kinds[base.name], writer.kinds[source.name]}
    if len(kinds) > 1 or node.arguments.get("step", 1) != 1:
        writer.keep(node)
        return
    axis = axis_of(node.arguments.get("dim", 0), len(node.shape))
    size = node.shape[axis]
    start, end = node.arguments.get("start"), node.arguments.get("end")
    first, last, _ = slice(start, end).indices(size)
    shape = (*node.shape, 2) if node.kind == "complex" else node.shape

    def piece(step: int, a: int, b: int) -> tuple[Ref, ...]:
        if a >= b:
            return ()
        name, part = f"{node.name}:{step}", (*shape[:axis], b - a, *shape[axis + 1 :])
        cut = writer.put(
            name, "aten.slice.Tensor", part, self=base, dim=axis, start=a, end=b, step=1
        )
        return (cut,)

    parts = (*piece(0, 0, first), source, *piece(1, max(first, last), size))
    writer.put(node.name, "aten.cat.default", shape, tensors=parts, dim=axis)


def convolved(node: Node, writer: Writer) -> None:
    """aten.convolution of real numbers, by the name of its number of axes."""
    arguments = dict(node.arguments)
    transposed, _ = arguments.pop("transposed"), arguments.pop("output_padding")
    axes = len(node.shape) - 2
    if node.kind != "real" or transposed or not 1 <= axes <= 3:
        writer.keep(node)
        return
    writer.put(node.name, f"aten.conv{axes}d.default", node.shape, **arguments)


def converted(node: Node, writer: Writer) -> None:
    """aten._to_copy of real numbers, or of whole ones to real ones."""
    x = reference(node, "self")
    if node.kind != "real" or writer.is_complex(x):
        writer.keep(node)
        return
    writer.put(node.name, "aten.alias.default", node.shape, self=x)

"""Sums and products of complex tensors, part by part."""

from certisolve_server.certifier.graph.node import Argument, Node, Ref

from .writer import Writer, reference


def negated(node: Node, writer: Writer) -> None:
    """Both parts negated."""
    writer.put(node.name, node.operator, (*node.shape, 2), **node.arguments)


def size(node: Node, writer: Writer) -> None:
    """|a + i b|, the norm of the parts."""
    x = reference(node, "self")
    how: dict[str, Argument] = {"ord": 2, "dim": (-1,), "keepdim": False, "dtype": None}
    writer.put(node.name, "aten.linalg_vector_norm.default", node.shape, self=x, **how)


def added(node: Node, writer: Writer) -> None:
    """Sums and differences of two complex tensors of one rank.

    Not with a number or a real tensor, which would have to leave imaginary parts alone.
    """
    pair = node.arguments["self"], node.arguments["other"]
    ranks = {
        len(writer.shapes[each.name])
        for each in pair
        if isinstance(each, Ref) and writer.is_complex(each)
    }
    if len(ranks) != 1 or not all(writer.is_complex(each) for each in pair):
        writer.keep(node)
        return
    writer.put(node.name, node.operator, (*node.shape, 2), **node.arguments)


def multiplied(node: Node, writer: Writer) -> None:
    """By another tensor, or both parts by a number."""
    if len(node.refs) == 2:
        product(node, writer)
    else:
        writer.put(node.name, node.operator, (*node.shape, 2), **node.arguments)


def product(node: Node, writer: Writer) -> None:
    """(a + i b) (c + i d) by whatever product of reals the node is; b or d may be missing."""
    tensors = node.refs
    if len(tensors) != 2:
        writer.keep(node)
        return
    (a, b), (c, d) = (_parts(node, writer, each, side) for side, each in enumerate(tensors))
    if b is None or d is None:
        second = _times(node, writer, "imaginary", a if b is None else b, c if d is None else d)
        first = _times(node, writer, "real", a, c)
    else:
        ac, bd = _times(node, writer, "ac", a, c), _times(node, writer, "bd", b, d)
        first = _sum(node, writer, "real", "aten.sub.Tensor", ac, bd)
        ad, bc = _times(node, writer, "ad", a, d), _times(node, writer, "bc", b, c)
        second = _sum(node, writer, "imaginary", "aten.add.Tensor", ad, bc)
    shape, last = (*node.shape, 2), len(node.shape)
    writer.put(node.name, "aten.stack.default", shape, tensors=(first, second), dim=last)


def _parts(node: Node, writer: Writer, x: Ref, side: int) -> tuple[Ref, Ref | None]:
    """Real and imaginary part; a real tensor has none of the second kind."""
    if not writer.is_complex(x):
        return x, None
    shape = writer.shapes[x.name]
    real, imaginary = (
        writer.put(
            f"{node.name}:{side}:{part}",
            "aten.select.int",
            shape,
            self=x,
            dim=len(shape),
            index=part,
        )
        for part in (0, 1)
    )
    return real, imaginary


def _times(node: Node, writer: Writer, step: str, one: Ref, other: Ref) -> Ref:
    """The node's own product of two real tensors in the places of its operands."""
    operands = iter((one, other))

    def filled_in(argument: Argument) -> Argument:
        if isinstance(argument, Ref):
            return next(operands)
        if isinstance(argument, tuple):
            return tuple(filled_in(item) for item in argument)
        return argument

    arguments = {name: filled_in(value) for name, value in node.arguments.items()}
    return writer.put(f"{node.name}:{step}", node.operator, node.shape, **arguments)


def _sum(node: Node, writer: Writer, step: str, operator: str, one: Ref, other: Ref) -> Ref:
    return writer.put(f"{node.name}:{step}", operator, node.shape, self=one, other=other, alpha=1)

"""Complex tensors as real ones: of shape (*shape, 2), real parts and imaginary ones.

So are a few operators under the names that others have, as functional and decomposed graphs do.
Transforms of Fourier are products with their matrices, whose elements are enclosed, so all that
knows matrices knows transforms. A graph with complex tensors becomes one of real operators; what
has no such form stays as it is, and is refused by name.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TypeAlias

import torch
from torch import Tensor

from certisolve_server.certifier.arithmetic import Interval

from .node import Argument, Constant, Graph, Node, Ref, live
from .waves import from_half_spectrum, to_half_spectrum, whole_spectrum


def without_complex(graph: Graph) -> Graph:
    """The same map in real operators, as far as there are any."""
    named = {node.name for node in graph.nodes if node.kind == "complex"}
    named |= {name for name, each in graph.constants.items() if each.kind == "complex"}
    writer = _Writer(dict(graph.constants), named)
    for node in graph.nodes:
        writer.shapes[node.name] = node.shape
    writer.shapes.update({name: each.value.shape[:-1] for name, each in writer.complex_constants()})
    writer.shapes.update({each.name: each.shape for each in graph.inputs})
    writer.shapes.update(
        {name: each.value.shape for name, each in graph.constants.items() if name not in named}
    )
    for node in graph.nodes:
        _rewrite(node, writer)
    constants = {
        name: Constant(name, each.value, "real" if each.kind == "complex" else each.kind)
        for name, each in writer.constants.items()
    }
    rewritten = Graph(graph.inputs, MappingProxyType(constants), tuple(writer.nodes), graph.output)
    return live(rewritten)


@dataclass
class _Writer:
    """The nodes so far; shapes are those of the complex tensors, without the axis of parts."""

    constants: dict[str, Constant]
    named: set[str]
    nodes: list[Node] = field(default_factory=list)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def complex_constants(self) -> list[tuple[str, Constant]]:
        return [(name, self.constants[name]) for name in self.named if name in self.constants]

    def is_complex(self, argument: Argument) -> bool:
        return isinstance(argument, Ref) and argument.name in self.named

    def shape(self, ref: Ref) -> tuple[int, ...]:
        return tuple(self.shapes[ref.name])

    def put(
        self, name: str, operator: str, shape: tuple[int, ...], /, **arguments: Argument
    ) -> Ref:
        """One more real node."""
        self.nodes.append(Node(name, operator, MappingProxyType(arguments), shape, "real"))
        return Ref(name)

    def constant(self, name: str, value: Interval) -> Ref:
        self.constants[name] = Constant(name, value, "real")
        return Ref(name)


Rewrite: TypeAlias = Callable[[Node, _Writer], None]


def _rewrite(node: Node, writer: _Writer) -> None:
    touches = node.kind == "complex" or any(writer.is_complex(ref) for ref in node.refs)
    rewrite = _ALWAYS.get(node.operator) or (_REWRITES.get(node.operator) if touches else None)
    if rewrite is None:
        writer.nodes.append(node)
    else:
        rewrite(node, writer)


def _ref(node: Node, name: str) -> Ref:
    argument = node.arguments[name]
    assert isinstance(argument, Ref)
    return argument


def _axis(dim: Argument, rank: int) -> int:
    assert isinstance(dim, int)
    return dim % rank


def _moved_last(
    writer: _Writer, name: str, x: Ref, shape: tuple[int, ...], axes: tuple[int, ...]
) -> tuple[Ref, tuple[int, ...]]:
    """Some axes behind all others, in this order."""
    order = (*(axis for axis in range(len(shape)) if axis not in axes), *axes)
    moved = tuple(shape[axis] for axis in order)
    return writer.put(name, "aten.permute.default", moved, self=x, dims=order), moved


def _moved_back(
    writer: _Writer, name: str, x: Ref, shape: tuple[int, ...], axes: tuple[int, ...]
) -> Ref:
    """The inverse, of a tensor that has this shape then."""
    order = (*(axis for axis in range(len(shape)) if axis not in axes), *axes)
    back = tuple(order.index(axis) for axis in range(len(shape)))
    return writer.put(name, "aten.permute.default", shape, self=x, dims=back)


def _matrix_along(
    writer: _Writer,
    node: Node,
    step: str,
    x: Ref,
    axes: tuple[int, ...],
    matrix: Interval,
    sizes: tuple[int, ...],
    result_axes: tuple[int, ...],
    shape: tuple[int, ...],
    last: bool,
) -> Ref:
    """A matrix over some axes together, their sizes afterwards, and where these are then.

    Args:
        writer: of the graph.
        node: that is rewritten.
        step: for names.
        x: real.
        axes: that are joined, in this order.
        matrix: (rows, columns), columns those of the axes.
        sizes: of the axes that the rows are made of.
        result_axes: where they are in the result.
        shape: of the result.
        last: whether the result has the name of the node.
    """
    name = f"{node.name}:{step}"
    old = writer.shapes[x.name]
    moved, moved_shape = _moved_last(writer, f"{name}_moved", x, old, axes)
    kept = moved_shape[: len(moved_shape) - len(axes)]
    if len(axes) > 1:
        joined = (*kept, math.prod(moved_shape[len(kept) :]))
        moved = writer.put(
            f"{name}_joined",
            "aten.flatten.using_ints",
            joined,
            self=moved,
            start_dim=len(kept),
            end_dim=-1,
        )
    turned = writer.constant(f"{name}_waves", matrix.rearranged(lambda ends: ends.mT))
    rows = matrix.shape[0]
    image = writer.put(
        f"{name}_image", "aten.matmul.default", (*kept, rows), self=moved, other=turned
    )
    if len(sizes) > 1:
        image = writer.put(
            f"{name}_apart",
            "aten.unflatten.int",
            (*kept, *sizes),
            self=image,
            dim=len(kept),
            sizes=sizes,
        )
    back = _moved_back(writer, node.name if last else f"{name}_back", image, shape, result_axes)
    writer.shapes[back.name] = shape
    return back


def _half(node: Node, writer: _Writer) -> None:
    """fft_rfft, and the first of `fft_rfft2`, `fft_rfftn` and `_fft_r2c`."""
    x = _ref(node, "self")
    shape = writer.shape(x)
    axes, norms, one_sided = _plan(node, shape)
    if axes is None or not one_sided:
        writer.nodes.append(node)
        return
    axis = axes[-1]
    size = shape[axis]
    count = size // 2 + 1
    known = (*shape[:axis], count, *shape[axis + 1 :])
    pairs = (*known, 2)
    rank = len(shape)
    result = _matrix_along(
        writer,
        node,
        "half",
        x,
        (axis,),
        to_half_spectrum(size, norms),
        (2, count),
        (rank, axis),
        pairs,
        len(axes) == 1,
    )
    for place, other in enumerate(axes[:-1]):
        result = _whole(node, writer, result, pairs, other, norms, 1, last=place == len(axes) - 2)
    writer.shapes[node.name] = node.shape


def _whole(
    node: Node,
    writer: _Writer,
    x: Ref,
    pairs: tuple[int, ...],
    axis: int,
    norm: str,
    sign: int,
    last: bool,
) -> Ref:
    """A transform from all frequencies to all points or back, of complex numbers."""
    rank, size = len(pairs) - 1, pairs[axis]
    return _matrix_along(
        writer,
        node,
        f"along_{axis}",
        x,
        (rank, axis),
        whole_spectrum(size, norm, sign),
        (2, size),
        (rank, axis),
        pairs,
        last,
    )


def _real(node: Node, writer: _Writer) -> None:
    """fft_irfft and its kin, and `_fft_c2r`: to real numbers."""
    x = _ref(node, "self")
    shape = writer.shape(x)
    axes, norm, size = _inverse_plan(node, shape)
    if axes is None or any(_resized(node, shape, axis) for axis in axes[:-1]):
        writer.nodes.append(node)
        return
    pairs = (*shape, 2)
    writer.shapes[x.name] = pairs
    result = x
    for other in axes[:-1]:
        result = _whole(node, writer, result, pairs, other, norm, -1, last=False)
    axis = axes[-1]
    matrix = from_half_spectrum(size, shape[axis], norm)
    _matrix_along(
        writer,
        node,
        "real",
        result,
        (len(shape), axis),
        matrix,
        (size,),
        (axis,),
        node.shape,
        True,
    )
    writer.shapes[x.name] = shape


def _between(node: Node, writer: _Writer) -> None:
    """fft_fft and fft_ifft of complex numbers."""
    x = _ref(node, "self")
    shape = writer.shape(x)
    dims = node.arguments.get("dim", -1)
    axes = dims if isinstance(dims, tuple) else (dims,)
    given = node.arguments.get("n", node.arguments.get("s"))
    norm: str | None
    if node.operator == "aten._fft_c2c.default":
        sign = 1 if node.arguments["forward"] else -1
        norm = _by_number(node.arguments["normalization"])
    else:
        sign = -1 if "_ifft" in node.operator else 1
        norm = _norm(node.arguments.get("norm"), sign)
    if not writer.is_complex(x) or given is not None or norm is None or dims is None:
        writer.nodes.append(node)
        return
    pairs = (*shape, 2)
    writer.shapes[x.name] = pairs
    result = x
    for place, dim in enumerate(axes):
        axis = _axis(dim, len(shape))
        result = _whole(node, writer, result, pairs, axis, norm, sign, place == len(axes) - 1)
    writer.shapes[x.name] = shape
    writer.shapes[node.name] = shape


def _plan(node: Node, shape: tuple[int, ...]) -> tuple[tuple[int, ...] | None, str, bool]:
    """Axes, the last of them that of half a spectrum, the norm, and whether it is half."""
    rank = len(shape)
    if node.operator == "aten._fft_r2c.default":
        dims, norm = node.arguments["dim"], _by_number(node.arguments["normalization"])
        assert isinstance(dims, tuple)
        return tuple(_axis(d, rank) for d in dims), norm, bool(node.arguments["onesided"])
    dims = node.arguments.get("dim", -1)
    if dims is None:
        dims = tuple(range(rank))
    axes = tuple(_axis(d, rank) for d in (dims if isinstance(dims, tuple) else (dims,)))
    given = node.arguments.get("n", node.arguments.get("s"))
    sizes = tuple(shape[axis] for axis in axes)
    found = _norm(node.arguments.get("norm"), 1)
    if found is None or given not in (None, sizes[-1], sizes):
        return None, "", False
    return axes, found, True


def _inverse_plan(node: Node, shape: tuple[int, ...]) -> tuple[tuple[int, ...] | None, str, int]:
    """Axes, the last of them that of half a spectrum, the norm, and points along that one."""
    rank = len(shape)
    if node.operator == "aten._fft_c2r.default":
        dims, norm = node.arguments["dim"], _by_number(node.arguments["normalization"])
        assert isinstance(dims, tuple)
        axes = tuple(_axis(d, rank) for d in dims)
        return axes, norm, node.shape[axes[-1]]
    dims = node.arguments.get("dim", -1)
    if dims is None:
        dims = tuple(range(rank))
    axes = tuple(_axis(d, rank) for d in (dims if isinstance(dims, tuple) else (dims,)))
    found = _norm(node.arguments.get("norm"), -1)
    return (axes, found, node.shape[axes[-1]]) if found is not None else (None, "", 0)


def _resized(node: Node, shape: tuple[int, ...], axis: int) -> bool:
    return node.shape[axis] != shape[axis]


def _norm(name: Argument, sign: int) -> str | None:
    """What a transform is divided by: nothing, the root of its size, or its size."""
    names: Mapping[Argument, tuple[str, str]] = {
        None: ("1", "n"),
        "backward": ("1", "n"),
        "ortho": ("root", "root"),
        "forward": ("n", "1"),
    }
    return names[name][0 if sign > 0 else 1] if name in names else None


def _by_number(number: Argument) -> str:
    assert isinstance(number, int)
    return ("1", "root", "n")[number]


def _structural(node: Node, writer: _Writer) -> None:
    """Operators that move numbers, with the axis of parts behind all."""
    arguments = dict(node.arguments)
    first = next((ref for ref in node.refs), None)
    rank = len(writer.shape(first)) if first is not None else 0
    dims = {"aten.unsqueeze.default": rank + 1, "aten.stack.default": rank + 1}
    known = dims.get(node.operator, rank)
    for name in ("dim", "dim0", "dim1", "start_dim", "end_dim"):
        if isinstance(arguments.get(name), int):
            arguments[name] = _axis(arguments[name], known)
    if isinstance(arguments.get("dims"), tuple):
        moved = tuple(_axis(d, rank) for d in arguments["dims"])  # type: ignore[union-attr]
        arguments["dims"] = (*moved, rank)
    for name in ("size", "shape"):
        if isinstance(arguments.get(name), tuple):
            arguments[name] = (*arguments[name], 2)  # type: ignore[misc]
    writer.put(node.name, node.operator, (*node.shape, 2), **arguments)


def _linear(node: Node, writer: _Writer) -> None:
    """Sums of complex tensors of one rank, and products."""
    tensors = node.refs
    if len(tensors) == 2 and node.operator == "aten.mul.Tensor":
        _product(node, writer)
        return
    ranks = {len(writer.shape(ref)) for ref in tensors}
    if len(ranks) != 1 or not all(writer.is_complex(ref) for ref in tensors):
        writer.nodes.append(node)
        return
    writer.put(node.name, node.operator, (*node.shape, 2), **node.arguments)


def _product(node: Node, writer: _Writer) -> None:
    """(a + i b) (c + i d) by whatever product of reals the node is."""
    names = [name for name, value in node.arguments.items() if isinstance(value, Ref)]
    listed = node.arguments.get("tensors")
    pair = listed if isinstance(listed, tuple) else tuple(node.arguments[name] for name in names)
    if len(pair) != 2 or not all(isinstance(each, Ref) for each in pair):
        writer.nodes.append(node)
        return
    halves = [_parts(node, writer, each, side) for side, each in enumerate(pair)]  # type: ignore[arg-type]

    def times(step: str, one: Ref, other: Ref) -> Ref:
        arguments = dict(node.arguments)
        if isinstance(listed, tuple):
            arguments["tensors"] = (one, other)
        else:
            arguments.update(zip(names, (one, other), strict=True))
        return writer.put(f"{node.name}:{step}", node.operator, node.shape, **arguments)

    (a, b), (c, d) = halves
    if b is None or d is None:
        # One of them is real.
        second = times("imaginary", a if b is None else b, c if d is None else d)
        first = times("real", a, c)
    else:
        first = _sum(node, writer, "real", times("ac", a, c), times("bd", b, d), -1)
        second = _sum(node, writer, "imaginary", times("ad", a, d), times("bc", b, c), 1)
    writer.put(
        node.name,
        "aten.stack.default",
        (*node.shape, 2),
        tensors=(first, second),
        dim=len(node.shape),
    )


def _sum(node: Node, writer: _Writer, step: str, one: Ref, other: Ref, sign: int) -> Ref:
    operator = "aten.add.Tensor" if sign > 0 else "aten.sub.Tensor"
    return writer.put(f"{node.name}:{step}", operator, node.shape, self=one, other=other, alpha=1)


def _parts(node: Node, writer: _Writer, x: Ref, side: int) -> tuple[Ref, Ref | None]:
    """Real and imaginary part; a real tensor has none of the second kind."""
    if not writer.is_complex(x):
        return x, None
    shape = writer.shape(x)
    parts = [
        writer.put(
            f"{node.name}:{side}:{part}",
            "aten.select.int",
            shape,
            self=x,
            dim=len(shape),
            index=part,
        )
        for part in (0, 1)
    ]
    return parts[0], parts[1]


def _part(index: int) -> Rewrite:
    def take(node: Node, writer: _Writer) -> None:
        x = _ref(node, "self")
        writer.put(
            node.name, "aten.select.int", node.shape, self=x, dim=len(node.shape), index=index
        )

    return take


def _same(node: Node, writer: _Writer) -> None:
    """view_as_real and view_as_complex: the pairs as they are."""
    x = _ref(node, "self")
    shape = writer.shape(x)
    pairs = (*shape, 2) if writer.is_complex(x) else shape
    writer.put(node.name, "aten.alias.default", pairs, self=x)


def _made(node: Node, writer: _Writer) -> None:
    """Zeros."""
    fill = node.arguments.get("fill_value", 0)
    size = node.arguments["size"]
    if fill != 0 or not isinstance(size, tuple):
        writer.nodes.append(node)
        return
    zeros = torch.zeros((*node.shape, 2), dtype=torch.float64)
    writer.constant(node.name, Interval.exact(zeros))


def _copied(node: Node, writer: _Writer) -> None:
    """aten.copy: the source, in the shape of the target."""
    source = _ref(node, "src")
    pairs = (*node.shape, 2) if writer.is_complex(source) else node.shape
    if writer.shape(source) != node.shape or writer.is_complex(source) != (node.kind == "complex"):
        writer.nodes.append(node)
        return
    writer.put(node.name, "aten.alias.default", pairs, self=source)


def _scattered(node: Node, writer: _Writer) -> None:
    """aten.slice_scatter: what is before, the source, what is behind."""
    base, source = _ref(node, "self"), _ref(node, "src")
    if writer.is_complex(base) != writer.is_complex(source) or node.arguments.get("step", 1) != 1:
        writer.nodes.append(node)
        return
    axis = _axis(node.arguments.get("dim", 0), len(node.shape))
    start, end = node.arguments.get("start"), node.arguments.get("end")
    first, last, _ = slice(start, end).indices(node.shape[axis])
    tail = (2,) if writer.is_complex(base) else ()
    pieces = []
    for step, (a, b) in enumerate(((0, first), (last, node.shape[axis]))):
        if a < b:
            shape = (*node.shape[:axis], b - a, *node.shape[axis + 1 :], *tail)
            piece = writer.put(
                f"{node.name}:{step}",
                "aten.slice.Tensor",
                shape,
                self=base,
                dim=axis,
                start=a,
                end=b,
                step=1,
            )
            pieces.append((step, piece))
    parts = (*(p for s, p in pieces if s == 0), source, *(p for s, p in pieces if s == 1))
    writer.put(node.name, "aten.cat.default", (*node.shape, *tail), tensors=parts, dim=axis)


def _convolved(node: Node, writer: _Writer) -> None:
    """aten.convolution, by the name of its number of axes."""
    arguments = dict(node.arguments)
    transposed, _ = arguments.pop("transposed"), arguments.pop("output_padding")
    axes = len(node.shape) - 2
    if transposed or not 1 <= axes <= 3:
        writer.nodes.append(node)
        return
    writer.put(node.name, f"aten.conv{axes}d.default", node.shape, **arguments)


def _converted(node: Node, writer: _Writer) -> None:
    """aten._to_copy of real numbers, or of whole ones to real ones."""
    x = _ref(node, "self")
    if node.kind != "real" or writer.is_complex(x):
        writer.nodes.append(node)
        return
    writer.put(node.name, "aten.alias.default", node.shape, self=x)


_STRUCTURAL = (
    "alias.default",
    "cat.default",
    "clone.default",
    "contiguous.default",
    "detach.default",
    "expand.default",
    "flatten.using_ints",
    "permute.default",
    "reshape.default",
    "select.int",
    "slice.Tensor",
    "squeeze.dim",
    "stack.default",
    "to.device",
    "transpose.int",
    "unsqueeze.default",
    "view.default",
)

#: Of graphs without complex numbers as well.
_ALWAYS: Mapping[str, Rewrite] = MappingProxyType(
    {
        "aten._to_copy.default": _converted,
        "aten.convolution.default": _convolved,
        "aten.copy.default": _copied,
        "aten.slice_scatter.default": _scattered,
        "aten.fft_rfft.default": _half,
        "aten.fft_rfft2.default": _half,
        "aten.fft_rfftn.default": _half,
        "aten._fft_r2c.default": _half,
    }
)

_REWRITES: Mapping[str, Rewrite] = MappingProxyType(
    {
        **{f"aten.{name}": _structural for name in _STRUCTURAL},
        "aten.fft_irfft.default": _real,
        "aten.fft_irfft2.default": _real,
        "aten.fft_irfftn.default": _real,
        "aten._fft_c2c.default": _between,
        "aten._fft_c2r.default": _real,
        "aten.fft_fft.default": _between,
        "aten.fft_ifft.default": _between,
        "aten.fft_fft2.default": _between,
        "aten.fft_ifft2.default": _between,
        "aten.add.Tensor": _linear,
        "aten.sub.Tensor": _linear,
        "aten.neg.default": _linear,
        "aten.mul.Tensor": _linear,
        "aten.bmm.default": _product,
        "aten.matmul.default": _product,
        "aten.mm.default": _product,
        "aten.einsum.default": _product,
        "aten.real.default": _part(0),
        "aten.imag.default": _part(1),
        "aten.view_as_real.default": _same,
        "aten.view_as_complex.default": _same,
        "aten.zeros.default": _made,
        "aten.full.default": _made,
    }
)


def as_pairs(tensor: Tensor) -> Tensor:
    """A complex tensor as a real one of real and imaginary parts."""
    return torch.view_as_real(tensor.resolve_conj())

"""Transforms of Fourier as products with their matrices."""

import math
from dataclasses import dataclass
from typing import NamedTuple

from certisolve_server.certifier.arithmetic import Interval
from certisolve_server.certifier.graph.node import Node, Ref
from certisolve_server.certifier.graph.waves import (
    from_half_spectrum,
    to_half_spectrum,
    whole_spectrum,
)

from . import plans
from .writer import Writer, reference


class Pairs(NamedTuple):
    """A real tensor that has been written: pairs, or what these are made of or become."""

    ref: Ref
    shape: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Along:
    """A matrix over some axes of a real tensor together.

    Args:
        axes: that are joined, in this order.
        matrix: (rows, columns), columns those of the axes.
        sizes: of the axes that the rows are made of.
        result_axes: where these are in the result.
        shape: of the result.
    """

    axes: tuple[int, ...]
    matrix: Interval
    sizes: tuple[int, ...]
    result_axes: tuple[int, ...]
    shape: tuple[int, ...]

    def write(self, writer: Writer, name: str, x: Pairs, result: str) -> Pairs:
        """Its product with x, as a node called `result`; others are called after `name`."""
        moved, kept = self._columns_last(writer, name, x)
        turned = writer.constant(f"{name}_waves", self.matrix.rearranged(lambda ends: ends.mT))
        shape = (*kept, self.matrix.shape[0])
        image = writer.put(f"{name}_image", "aten.matmul.default", shape, self=moved, other=turned)
        if len(self.sizes) > 1:
            image = writer.put(
                f"{name}_apart",
                "aten.unflatten.int",
                (*kept, *self.sizes),
                self=image,
                dim=len(kept),
                sizes=self.sizes,
            )
        order = _with_last(len(self.shape), self.result_axes)
        back = tuple(order.index(axis) for axis in range(len(self.shape)))
        writer.put(result, "aten.permute.default", self.shape, self=image, dims=back)
        return Pairs(Ref(result), self.shape)

    def _columns_last(self, writer: Writer, name: str, x: Pairs) -> tuple[Ref, tuple[int, ...]]:
        """The tensor with the joined axes behind all others, and the sizes of the others."""
        order = _with_last(len(x.shape), self.axes)
        shape = tuple(x.shape[axis] for axis in order)
        kept, last = shape[: -len(self.axes)], shape[-len(self.axes) :]
        moved = writer.put(f"{name}_moved", "aten.permute.default", shape, self=x.ref, dims=order)
        if len(last) > 1:
            moved = writer.put(
                f"{name}_joined",
                "aten.flatten.using_ints",
                (*kept, math.prod(last)),
                self=moved,
                start_dim=len(kept),
                end_dim=-1,
            )
        return moved, kept


def from_real(node: Node, writer: Writer) -> None:
    """fft_rfft and its kin, and `_fft_r2c`: half of a spectrum, whole ones along other axes."""
    x = reference(node, "self")
    shape = writer.shapes[x.name]
    plan = plans.from_real(node, shape)
    if plan is None:
        writer.keep(node)
        return
    *others, axis = plan.axes
    size, rank = shape[axis], len(shape)
    count = size // 2 + 1
    pairs = (*shape[:axis], count, *shape[axis + 1 :], 2)
    matrix = to_half_spectrum(size, plan.norm)
    half = Along((axis,), matrix, (2, count), (rank, axis), pairs)
    name = f"{node.name}:half"
    result = half.write(writer, name, Pairs(x, shape), f"{name}_back" if others else node.name)
    _whole(node, writer, result, tuple(others), plan.norm, 1)


def to_real(node: Node, writer: Writer) -> None:
    """fft_irfft and its kin, and `_fft_c2r`: of half of a spectrum."""
    x = reference(node, "self")
    shape = writer.shapes[x.name]
    plan = plans.to_real(node, shape)
    if plan is None:
        writer.keep(node)
        return
    *others, axis = plan.axes
    name = f"{node.name}:real"
    pairs = Pairs(x, (*shape, 2))
    whole = _whole(node, writer, pairs, tuple(others), plan.norm, -1, ends_here=False)
    matrix = from_half_spectrum(node.shape[axis], shape[axis], plan.norm)
    last = Along((len(shape), axis), matrix, (node.shape[axis],), (axis,), node.shape)
    last.write(writer, name, whole, node.name)


def among_complex(node: Node, writer: Writer) -> None:
    """fft_fft and fft_ifft of complex numbers, and their kin."""
    x = reference(node, "self")
    shape = writer.shapes[x.name]
    found = plans.among_complex(node, shape)
    if found is None or not writer.is_complex(x):
        writer.keep(node)
        return
    plan, sign = found
    _whole(node, writer, Pairs(x, (*shape, 2)), plan.axes, plan.norm, sign)


def _whole(
    node: Node,
    writer: Writer,
    x: Pairs,
    axes: tuple[int, ...],
    norm: str,
    sign: int,
    ends_here: bool = True,
) -> Pairs:
    """From all points to all frequencies, or back, along axes one after the other.

    Args:
        node: that is rewritten.
        writer: of the graph.
        x: pairs.
        axes: of the complex tensor.
        norm: as of `Plan`.
        sign: 1, or -1 of an inverse.
        ends_here: whether the last result is that of the node.
    """
    rank = len(x.shape) - 1
    for place, axis in enumerate(axes):
        size, name = x.shape[axis], f"{node.name}:along_{axis}"
        matrix = whole_spectrum(size, norm, sign)
        along = Along((rank, axis), matrix, (2, size), (rank, axis), x.shape)
        is_last = ends_here and place == len(axes) - 1
        x = along.write(writer, name, x, node.name if is_last else f"{name}_back")
    return x


def _with_last(rank: int, axes: tuple[int, ...]) -> tuple[int, ...]:
    """The order of all axes that puts some of them behind all others."""
    return (*(axis for axis in range(rank) if axis not in axes), *axes)

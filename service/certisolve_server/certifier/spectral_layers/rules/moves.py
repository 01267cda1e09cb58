"""Axes moved, split, joined, dropped and repeated; parts taken and put beside each other."""

import math
from types import MappingProxyType
from typing import Any

from certisolve_server.certifier.errors import NotCertified
from certisolve_server.certifier.spectral_layers.axes import dropped, permuted, unsqueezed
from certisolve_server.certifier.spectral_layers.form import Form
from certisolve_server.certifier.spectral_layers.network import Sources
from certisolve_server.certifier.spectral_layers.parts import narrowed, placed, selected, summed
from certisolve_server.certifier.spectral_layers.reshape import reshaped
from certisolve_server.certifier.spectral_layers.shapes import added, expanded

from .rule import Operand, Rules


def unflatten(_: Sources, self: Form, dim: int, sizes: tuple[int, ...]) -> Form:
    """An axis as several."""
    axis = dim % len(self.axes)
    if -1 in sizes:
        known = -math.prod(sizes)
        sizes = tuple(self.shape[axis] // known if size == -1 else size for size in sizes)
    return reshaped(self, (*self.shape[:axis], *sizes, *self.shape[axis + 1 :]))


def flatten(_: Sources, self: Form, start_dim: int = 0, end_dim: int = -1) -> Form:
    """Several axes as one."""
    rank = len(self.axes)
    start, end = start_dim % rank, end_dim % rank
    middle = tuple(atom for axis in self.axes[start : end + 1] for atom in axis)
    return Form((*self.axes[:start], middle, *self.axes[end + 1 :]), self.terms)


def view(_: Sources, self: Form, **shape: Any) -> Form:
    """In another shape."""
    return reshaped(self, tuple(next(iter(shape.values()))))


def permute(_: Sources, self: Form, dims: tuple[int, ...]) -> Form:
    """Axes in another order."""
    return permuted(self, tuple(dim % len(self.axes) for dim in dims))


def transpose(_: Sources, self: Form, dim0: int, dim1: int) -> Form:
    """Two axes swapped."""
    order = list(range(len(self.axes)))
    a, b = dim0 % len(order), dim1 % len(order)
    order[a], order[b] = order[b], order[a]
    return permuted(self, tuple(order))


def unsqueeze(_: Sources, self: Form, dim: int) -> Form:
    """With an axis of size 1."""
    return unsqueezed(self, dim % (len(self.axes) + 1))


def squeeze(_: Sources, self: Form, dim: int) -> Form:
    """Without an axis of size 1."""
    axis = dim % len(self.axes)
    return dropped(self, axis) if self.shape[axis] == 1 else self


def select(_: Sources, self: Form, dim: int, index: int) -> Form:
    """One entry of an axis."""
    return selected(self, dim % len(self.axes), index)


def narrow(
    _: Sources, self: Form, dim: int = 0, start: Any = None, end: Any = None, step: int = 1
) -> Form:
    """Some entries of an axis, one after the other (aten.slice)."""
    axis = dim % len(self.axes)
    if step != 1:
        raise NotCertified("leaves out entries")
    first, last, _step = slice(start, end).indices(self.shape[axis])
    return narrowed(self, axis, first, last)


def expand(_: Sources, self: Form, size: tuple[int, ...], **__: Any) -> Form:
    """Repeated along axes of size 1."""
    return expanded(self, size)


def sums(_: Sources, self: Form, dim: Any, keepdim: bool = False, **__: Any) -> Form:
    """Over axes that are no grid."""
    if dim is None:
        raise NotCertified("sums over the points of a grid")
    for axis in sorted((each % len(self.axes) for each in dim), reverse=True):
        self = summed(self, axis)
        self = unsqueezed(self, axis) if keepdim else self
    return self


def stack(sources: Sources, tensors: tuple[Operand, ...], dim: int = 0) -> Form:
    """Side by side along a new axis."""
    rank = next(len(each.axes) for each in tensors if isinstance(each, Form)) + 1
    axis = dim % rank
    parts = [
        unsqueezed(each, axis)
        if isinstance(each, Form)
        else each.rearranged(lambda ends: ends.unsqueeze(axis))  # type: ignore[union-attr]
        for each in tensors
    ]
    return concatenate(sources, tuple(parts), axis)


def concatenate(_: Sources, tensors: tuple[Operand, ...], dim: int = 0) -> Form:
    """One after the other along an axis that is no grid; constants are zeros."""
    rank = next(len(each.axes) for each in tensors if isinstance(each, Form))
    axis = dim % rank
    sizes = [each.shape[axis] for each in tensors]  # type: ignore[union-attr]
    start, result = 0, None
    for each, size in zip(tensors, sizes, strict=True):
        if isinstance(each, Form):
            part = placed(each, axis, start, sum(sizes))
            result = part if result is None else added(result, part)
        start += size
    if result is None:
        raise NotCertified("joins constants")
    return result


def same(_: Sources, self: Form, **__: Any) -> Form:
    """What leaves numbers as they are."""
    return self


def dropout(_: Sources, input: Form, p: float, train: bool) -> Form:
    """Nothing, outside of training."""
    del p
    if train:
        raise NotCertified("drops numbers at random")
    return input


#: By overload.
RULES: Rules = MappingProxyType(
    {
        "aten.alias.default": same,
        "aten.cat.default": concatenate,
        "aten.clone.default": same,
        "aten.contiguous.default": same,
        "aten.detach.default": same,
        "aten.dropout.default": dropout,
        "aten.expand.default": expand,
        "aten.flatten.using_ints": flatten,
        "aten.permute.default": permute,
        "aten.reshape.default": view,
        "aten.select.int": select,
        "aten.slice.Tensor": narrow,
        "aten.squeeze.dim": squeeze,
        "aten.stack.default": stack,
        "aten.sum.dim_IntList": sums,
        "aten.to.device": same,
        "aten.to.dtype": same,
        "aten.transpose.int": transpose,
        "aten.unflatten.int": unflatten,
        "aten.unsqueeze.default": unsqueeze,
        "aten.view.default": view,
    }
)

"""What operators do to forms, up to constants: one function for each overload.

Each takes the arguments of the schema by name, forms where a tensor varies and intervals where it
does not, and refuses what would leave the structure.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
import torch

from certisolve_server.certifier.arithmetic import Interval, gamma
from certisolve_server.certifier.errors import NotCertified

from . import shapes
from .form import Entries, Form, Wave, more, permuted
from .network import Sources
from .transforms import matrix_of_each, over_channels, product

Operand: TypeAlias = "Form | Interval | float | int"


def add(sources: Sources, self: Operand, other: Operand, alpha: float = 1) -> Form:
    """Self + alpha other; of a constant only the shape counts."""
    if isinstance(self, Form) and isinstance(other, Form):
        return shapes.added(self, _times(other, Interval.exact(float(alpha)), sources))
    varying, constant = (self, other) if isinstance(self, Form) else (other, self)
    if not isinstance(varying, Form):
        raise NotCertified("adds constants")
    form = varying if varying is self else _times(varying, Interval.exact(float(alpha)), sources)
    if isinstance(constant, Interval):
        form = shapes.expanded(form, np.broadcast_shapes(form.shape, constant.shape))
    return form


def subtract(sources: Sources, self: Operand, other: Operand, alpha: float = 1) -> Form:
    """Self - alpha other."""
    return add(sources, self, other, -alpha)


def multiply(sources: Sources, self: Operand, other: Operand) -> Form:
    """With a constant."""
    form, factor = (self, other) if isinstance(self, Form) else (other, self)
    if not isinstance(form, Form) or isinstance(factor, Form):
        raise NotCertified("multiplies two tensors that vary")
    return _times(form, factor if isinstance(factor, Interval) else _exact(factor), sources)


def divide(sources: Sources, self: Operand, other: Operand) -> Form:
    """By a constant."""
    if not isinstance(self, Form) or isinstance(other, Form):
        raise NotCertified("divides by a tensor that varies")
    divisor = other if isinstance(other, Interval) else _exact(other)
    return _times(self, 1.0 / divisor, sources)


def negative(sources: Sources, self: Form) -> Form:
    """- self."""
    return _times(self, _exact(-1.0), sources)


def _exact(number: float) -> Interval:
    return Interval.exact(float(number))


def _times(form: Form, factor: Interval, sources: Sources) -> Form:
    form = shapes.expanded(form, np.broadcast_shapes(form.shape, factor.shape))
    whole = factor.rearranged(lambda ends: ends.expand(form.shape))
    ends = [shapes.without_grids(end, form) for end in (whole.lower, whole.upper)]
    if ends[0] is None or ends[1] is None:
        return sources.weighted(form, whole)
    center, radius = Interval(ends[0], ends[1]).midpoint_radius()
    if factor.is_exact:
        center, radius = ends[0], torch.zeros_like(ends[0])
    norm, deviation = float(center.abs().max()), float(radius.max())
    waves = sum(isinstance(atom, Wave) for atom in form.atoms)
    # Powers of 2 leave no rounding.
    rounding = 0.0 if norm == 1.0 and bool((center.abs() == 1).all()) else gamma(4) * norm

    def change(entries: Entries) -> Entries:
        index = tuple(entries.places[:, column] for column in range(waves))
        chosen = center[index] if waves else center[None]
        error = more(norm * entries.error * (1 + 2.0**-50), deviation, entries.norm)
        error = more(error, rounding, entries.size)
        return replace(entries, values=entries.values * chosen.unsqueeze(-1), error=error)

    return form.mapped(change)


def linear(sources: Sources, input: Form, weight: Interval, bias: Any = None) -> Form:
    """X W^T + b, over the last axis."""
    del bias
    return _along(sources, input, len(input.axes) - 1, weight)


def matmul(sources: Sources, self: Operand, other: Operand) -> Form:
    """Of a constant matrix and a form, or a form and a constant matrix."""
    if isinstance(self, Form) and isinstance(other, Interval):
        matrix = _one_matrix(other).rearranged(lambda ends: ends.mT)
        return _along(sources, self, len(self.axes) - 1, matrix)
    if isinstance(other, Form) and isinstance(self, Interval):
        return _along(sources, other, len(other.axes) - 2, _one_matrix(self))
    raise NotCertified("multiplies two matrices that vary")


def bmm(sources: Sources, self: Operand, mat2: Operand) -> Form:
    """Of a form with a constant matrix for each place of the first axis."""
    if not isinstance(self, Form) or not isinstance(mat2, Interval):
        return matmul(sources, self, mat2)
    return matrix_of_each(self, mat2)


def einsum(sources: Sources, equation: str, tensors: tuple[Operand, ...], **_: Any) -> Form:
    """Of a form with a constant: a matrix, or one for each place of some axes."""
    if len(tensors) != 2 or "." in equation or "->" not in equation:
        raise NotCertified(f"contracts as in {equation!r}")
    names, result = equation.replace(" ", "").split("->")
    left, right = names.split(",")
    form, factor = tensors
    if not isinstance(form, Form):
        form, factor, left, right = factor, form, right, left
    if not isinstance(form, Form) or not isinstance(factor, Interval):
        raise NotCertified("contracts two tensors that vary")
    if any(len(set(each)) != len(each) for each in (left, right, result)):
        raise NotCertified(f"contracts as in {equation!r}")
    shared = [name for name in left if name in right]
    batch, inner = [n for n in shared if n in result], [n for n in shared if n not in result]
    own, new = [n for n in left if n not in right], [n for n in right if n not in left]
    sizes = dict(zip(left, form.shape, strict=True)) | dict(zip(right, factor.shape, strict=True))
    first, second = [*batch, *own, *inner], [*batch, *inner, *new]
    form = permuted(form, tuple(left.index(name) for name in first))
    order = [right.index(name) for name in second]

    def count(names: list[str]) -> int:
        return math.prod(sizes[name] for name in names)

    matrices = factor.rearranged(
        lambda ends: ends.permute(order).reshape(count(batch), count(inner), count(new))
    )
    cuts = (len(batch), len(batch) + len(own))
    groups = (form.axes[: cuts[0]], form.axes[cuts[0] : cuts[1]], form.axes[cuts[1] :])
    joined = Form(tuple(tuple(a for axis in group for a in axis) for group in groups), form.terms)
    if batch:
        image = matrix_of_each(joined, matrices)
    else:
        image = _along(sources, joined, 2, matrices.rearranged(lambda ends: ends[0].mT))
    axes = (*form.axes[: cuts[1]], image.axes[2])
    image = Form(axes, image.terms)
    image = shapes.reshaped(image, tuple(sizes[name] for name in (*batch, *own, *new)))
    now = [*batch, *own, *new]
    return permuted(image, tuple(now.index(name) for name in result))


def addmm(
    sources: Sources, self: Operand, mat1: Operand, mat2: Operand, beta: float = 1, alpha: float = 1
) -> Form:
    """Beta c + alpha x y."""
    image = _times(matmul(sources, mat1, mat2), _exact(alpha), sources)
    return add(sources, image, self, beta)


def convolution(
    sources: Sources,
    input: Form,
    weight: Interval,
    bias: Any = None,
    stride: tuple[int, ...] = (1,),
    padding: tuple[int, ...] = (0,),
    dilation: tuple[int, ...] = (1,),
    groups: int = 1,
    **_: Any,
) -> Form:
    """With kernels of one tap: a matrix over the channels."""
    del bias, dilation
    plain = math.prod(weight.shape[2:]) == 1 and groups == 1
    if not plain or set(stride) != {1} or set(padding) != {0}:
        raise NotCertified("convolves with more than one tap")
    return _along(sources, input, 1, weight.rearranged(lambda ends: ends.flatten(1)))


def _along(sources: Sources, form: Form, axis: int, matrix: Interval) -> Form:
    if not form.axes[axis]:
        return over_channels(shapes.as_channels(form, axis), axis, matrix)
    return product(form, axis, matrix, sources)


def _one_matrix(matrix: Interval) -> Interval:
    if math.prod(matrix.shape[:-2]) != 1:
        raise NotCertified("multiplies with several matrices")
    return matrix.rearranged(lambda ends: ends.reshape(ends.shape[-2:]))


def unflatten(_: Sources, self: Form, dim: int, sizes: tuple[int, ...]) -> Form:
    """An axis as several."""
    axis = dim % len(self.axes)
    if -1 in sizes:
        known = -math.prod(sizes)
        sizes = tuple(self.shape[axis] // known if size == -1 else size for size in sizes)
    return shapes.reshaped(self, (*self.shape[:axis], *sizes, *self.shape[axis + 1 :]))


def flatten(_: Sources, self: Form, start_dim: int = 0, end_dim: int = -1) -> Form:
    """Several axes as one."""
    rank = len(self.axes)
    start, end = start_dim % rank, end_dim % rank
    middle = tuple(atom for axis in self.axes[start : end + 1] for atom in axis)
    return Form((*self.axes[:start], middle, *self.axes[end + 1 :]), self.terms)


def view(_: Sources, self: Form, **shape: Any) -> Form:
    """In another shape."""
    return shapes.reshaped(self, tuple(next(iter(shape.values()))))


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
    return shapes.unsqueezed(self, dim % (len(self.axes) + 1))


def squeeze(_: Sources, self: Form, dim: int) -> Form:
    """Without an axis of size 1."""
    axis = dim % len(self.axes)
    return shapes.dropped(self, axis) if self.shape[axis] == 1 else self


def select(_: Sources, self: Form, dim: int, index: int) -> Form:
    """One entry of an axis."""
    return shapes.selected(self, dim % len(self.axes), index)


def narrow(
    _: Sources, self: Form, dim: int = 0, start: Any = None, end: Any = None, step: int = 1
) -> Form:
    """Some entries of an axis, one after the other (aten.slice)."""
    axis = dim % len(self.axes)
    if step != 1:
        raise NotCertified("leaves out entries")
    first, last, _step = slice(start, end).indices(self.shape[axis])
    return shapes.narrowed(self, axis, first, last)


def expand(_: Sources, self: Form, size: tuple[int, ...], **__: Any) -> Form:
    """Repeated along axes of size 1."""
    return shapes.expanded(self, size)


def sums(_: Sources, self: Form, dim: Any, keepdim: bool = False, **__: Any) -> Form:
    """Over axes that are no grid."""
    if dim is None:
        raise NotCertified("sums over the points of a grid")
    for axis in sorted((each % len(self.axes) for each in dim), reverse=True):
        self = shapes.summed(self, axis)
        self = shapes.unsqueezed(self, axis) if keepdim else self
    return self


def stack(sources: Sources, tensors: tuple[Operand, ...], dim: int = 0) -> Form:
    """Side by side along a new axis."""
    rank = next(len(each.axes) for each in tensors if isinstance(each, Form)) + 1
    axis = dim % rank
    parts = [
        shapes.unsqueezed(each, axis)
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
            part = shapes.placed(each, axis, start, sum(sizes))
            result = part if result is None else shapes.added(result, part)
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


Rule: TypeAlias = Callable[..., Form]

#: By overload.
RULES: Mapping[str, Rule] = MappingProxyType(
    {
        "aten.add.Scalar": add,
        "aten.add.Tensor": add,
        "aten.alias.default": same,
        "aten.addmm.default": addmm,
        "aten.bmm.default": bmm,
        "aten.cat.default": concatenate,
        "aten.clone.default": same,
        "aten.contiguous.default": same,
        "aten.conv1d.default": convolution,
        "aten.conv2d.default": convolution,
        "aten.conv3d.default": convolution,
        "aten.convolution.default": convolution,
        "aten.detach.default": same,
        "aten.div.Scalar": divide,
        "aten.div.Tensor": divide,
        "aten.dropout.default": dropout,
        "aten.einsum.default": einsum,
        "aten.expand.default": expand,
        "aten.flatten.using_ints": flatten,
        "aten.linear.default": linear,
        "aten.matmul.default": matmul,
        "aten.mm.default": bmm,
        "aten.mul.Scalar": multiply,
        "aten.mul.Tensor": multiply,
        "aten.neg.default": negative,
        "aten.permute.default": permute,
        "aten.reshape.default": view,
        "aten.select.int": select,
        "aten.slice.Tensor": narrow,
        "aten.squeeze.dim": squeeze,
        "aten.stack.default": stack,
        "aten.sub.Scalar": subtract,
        "aten.sub.Tensor": subtract,
        "aten.sum.dim_IntList": sums,
        "aten.to.device": same,
        "aten.to.dtype": same,
        "aten.transpose.int": transpose,
        "aten.unflatten.int": unflatten,
        "aten.unsqueeze.default": unsqueeze,
        "aten.view.default": view,
    }
)

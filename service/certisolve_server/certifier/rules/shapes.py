"""Operators that move numbers and compute none; they act on each slope as on the values."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from certisolve_server.certifier.arithmetic import Interval, concatenate, stack

from .abstraction import Abstraction, widened
from .operands import Operand
from .rule import Declined, Rules


def _moving(overload: Callable[..., Tensor]) -> Callable[..., Abstraction]:
    """The rule of an operator that moves the numbers of `self`."""

    def rule(self: Abstraction, **arguments: Any) -> Abstraction:
        return move(self, lambda x: overload(x, **arguments))

    return rule


def _parting(overload: Callable[..., Sequence[Tensor]]) -> Callable[..., tuple[Abstraction, ...]]:
    """The rule of an operator that cuts `self` into several tensors."""

    def part(self: Abstraction, **arguments: Any) -> tuple[Abstraction, ...]:
        count = len(overload(self.value.lower[0], **arguments))
        return tuple(move(self, partial(_nth, overload, arguments, i)) for i in range(count))

    return part


def move(x: Abstraction, move: Callable[[Tensor], Tensor]) -> Abstraction:
    """The image of what only moves numbers, of one tensor at a time, on each box and slope."""
    per_box = torch.func.vmap(move)

    def per_slope(bound: Tensor) -> Tensor:
        flat: Tensor = per_box(bound.flatten(0, 1))
        return flat.reshape(*bound.shape[:2], *flat.shape[1:])

    jacobian = {name: block.rearranged(per_slope) for name, block in x.jacobian.items()}
    return Abstraction(x.value.rearranged(per_box), MappingProxyType(jacobian))


def pick(argument_0: tuple[Abstraction, ...], argument_1: int) -> Abstraction:
    """One of several results."""
    return argument_0[argument_1]


def keep(self: Abstraction, **_how: object) -> Abstraction:
    """The same numbers: copies, and casts between floating-point types, which on reals are none."""
    return self


def viewed(self: Abstraction, size: Sequence[int]) -> Abstraction:
    """Another shape; what has become a copy here cannot be viewed, so it is copied."""
    return move(self, lambda x: x.reshape(size))


def joined(tensors: Sequence[Abstraction], dim: int) -> Abstraction:
    """Tensors one after another along an axis (aten.cat)."""
    rank = len(tensors[0].shape)
    if any(len(each.shape) != rank for each in tensors):
        raise Declined("joins tensors of different numbers of axes")
    axis = dim % rank - rank
    value = concatenate(_on_all_boxes([each.value for each in tensors]), axis)
    return Abstraction(value, _joined_jacobian(tensors, lambda parts: concatenate(parts, axis)))


def stacked(tensors: Sequence[Abstraction], dim: int) -> Abstraction:
    """Tensors of one shape along a new axis."""
    rank = len(tensors[0].shape) + 1
    axis = dim % rank - rank
    value = stack(_on_all_boxes([each.value for each in tensors]), axis)
    return Abstraction(value, _joined_jacobian(tensors, lambda parts: stack(parts, axis)))


def _writing(overload: Callable[..., Tensor]) -> Callable[..., Abstraction]:
    """The rule of a copy of `self` in which `src` stands in place of a part."""

    def rule(self: Abstraction, src: Abstraction, **arguments: Any) -> Abstraction:
        places = torch.arange(math.prod(self.shape) + math.prod(src.shape))
        whole, part = places.tensor_split([math.prod(self.shape)])
        source = overload(whole.reshape(self.shape), part.reshape(src.shape), **arguments)

        def written(parts: Sequence[Interval], leading: int) -> Interval:
            flat = [
                part.rearranged(lambda ends: ends.reshape(*ends.shape[:leading], -1))
                for part in parts
            ]
            both = concatenate(_on_all_boxes(flat), leading)
            return both.rearranged(lambda ends: ends[..., source])

        value = written([self.value, src.value], 1)
        return Abstraction(value, _joined_jacobian([self, src], lambda parts: written(parts, 2)))

    return rule


def selected(condition: Abstraction, self: Operand, other: Operand) -> Abstraction:
    """aten.where of a condition that is a constant: then it picks, and nothing jumps."""
    if not condition.is_exact:
        raise Declined("chooses by a condition that is not a constant")
    if not isinstance(self, Abstraction) or not isinstance(other, Abstraction):
        raise Declined("chooses between numbers")
    shape = tuple(np.broadcast_shapes(condition.shape, self.shape, other.shape))
    chosen = condition.value.lower[0] != 0

    def choose(parts: Sequence[Interval], leading: int) -> Interval:
        mine, others = _on_all_boxes([widened(part, leading, shape) for part in parts])
        return Interval(
            torch.where(chosen, mine.lower, others.lower),
            torch.where(chosen, mine.upper, others.upper),
        )

    value = choose([self.value, other.value], 1)
    return Abstraction(value, _joined_jacobian([self, other], lambda parts: choose(parts, 2)))


#: By overload.
RULES: Rules = {
    "aten.alias.default": _moving(torch.ops.aten.alias.default),
    "aten.expand.default": _moving(torch.ops.aten.expand.default),
    "aten.flatten.using_ints": _moving(torch.ops.aten.flatten.using_ints),
    "aten.flip.default": _moving(torch.ops.aten.flip.default),
    "aten.mT.default": _moving(torch.ops.aten.mT.default),
    "aten.movedim.int": _moving(torch.ops.aten.movedim.int),
    "aten.narrow.default": _moving(torch.ops.aten.narrow.default),
    "aten.numpy_T.default": _moving(torch.ops.aten.numpy_T.default),
    "aten.permute.default": _moving(torch.ops.aten.permute.default),
    "aten.ravel.default": _moving(torch.ops.aten.ravel.default),
    "aten.repeat.default": _moving(torch.ops.aten.repeat.default),
    "aten.reshape.default": _moving(torch.ops.aten.reshape.default),
    "aten.select.int": _moving(torch.ops.aten.select.int),
    "aten.select_scatter.default": _writing(torch.ops.aten.select_scatter.default),
    "aten.slice_scatter.default": _writing(torch.ops.aten.slice_scatter.default),
    "aten.slice.Tensor": _moving(torch.ops.aten.slice.Tensor),
    "aten.squeeze.default": _moving(torch.ops.aten.squeeze.default),
    "aten.squeeze.dim": _moving(torch.ops.aten.squeeze.dim),
    "aten.squeeze.dims": _moving(torch.ops.aten.squeeze.dims),
    "aten.swapaxes.default": _moving(torch.ops.aten.swapaxes.default),
    "aten.t.default": _moving(torch.ops.aten.t.default),
    "aten.transpose.int": _moving(torch.ops.aten.transpose.int),
    "aten.unflatten.int": _moving(torch.ops.aten.unflatten.int),
    "aten.unfold.default": _moving(torch.ops.aten.unfold.default),
    "aten.unsqueeze.default": _moving(torch.ops.aten.unsqueeze.default),
    "aten.view.default": viewed,
    "aten.chunk.default": _parting(torch.ops.aten.chunk.default),
    "aten.split.Tensor": _parting(torch.ops.aten.split.Tensor),
    "aten.split_with_sizes.default": _parting(torch.ops.aten.split_with_sizes.default),
    "aten.unbind.int": _parting(torch.ops.aten.unbind.int),
    "python.getitem": pick,
    "aten.clone.default": keep,
    "aten.contiguous.default": keep,
    "aten.detach.default": keep,
    "aten.to.device": keep,
    "aten.to.dtype": keep,
    "aten.cat.default": joined,
    "aten.stack.default": stacked,
    "aten.where.self": selected,
}


def _nth(
    overload: Callable[..., Sequence[Tensor]], arguments: dict[str, Any], i: int, x: Tensor
) -> Tensor:
    return overload(x, **arguments)[i]


def _joined_jacobian(
    tensors: Sequence[Abstraction], join: Callable[[Sequence[Interval]], Interval]
) -> MappingProxyType[str, Interval]:
    names = sorted({name for each in tensors for name in each.jacobian})
    blocks = {}
    for name in names:
        entries = next(each.jacobian[name].shape[1] for each in tensors if name in each.jacobian)
        blocks[name] = join(_on_all_boxes([_block(each, name, entries) for each in tensors]))
    return MappingProxyType(blocks)


def _block(x: Abstraction, name: str, entries: int) -> Interval:
    """The slopes with respect to one input, zeros where there are none."""
    if name in x.jacobian:
        return x.jacobian[name]
    return Interval.exact(torch.zeros(1, entries, *x.shape, dtype=torch.float64))


def _on_all_boxes(parts: Sequence[Interval]) -> list[Interval]:
    """With as many boxes each as the one of most, for what does not broadcast."""
    boxes = max(part.shape[0] for part in parts)
    return [part.rearranged(lambda bound: bound.expand(boxes, *bound.shape[1:])) for part in parts]

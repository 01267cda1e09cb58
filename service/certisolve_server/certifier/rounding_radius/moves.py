"""Operators that move numbers: they move deviations with them, and round nothing."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from certisolve_server.certifier.arithmetic.rounding import product_up, sqrt_up
from certisolve_server.certifier.rules import Declined

from .deviation import Deviation, Known, euclidean, number
from .precision import Precision
from .rule import Operand, Rule, Rules


def _moving(overload: Callable[..., Tensor]) -> Rule:
    def move(_precision: Precision, self: Known, **arguments: Any) -> Deviation:
        moved = overload(self.deviation.entries, **arguments)
        # No entry is moved to several places but by `expand` and `repeat`.
        times = max(1.0, moved.numel() / max(1, self.deviation.entries.numel()))
        length = product_up(self.deviation.length, sqrt_up(number(times)))
        return Deviation.within(moved, length)

    return move


def _parting(overload: Callable[..., Sequence[Tensor]]) -> Rule:
    def part(_precision: Precision, self: Known, **arguments: Any) -> tuple[Deviation, ...]:
        length = self.deviation.length
        parts = overload(self.deviation.entries, **arguments)
        return tuple(Deviation.within(entries, length) for entries in parts)

    return part


def viewed(_precision: Precision, self: Known, size: Sequence[int]) -> Deviation:
    """Another shape."""
    return Deviation(self.deviation.entries.reshape(tuple(size)), self.deviation.length)


def picked(_precision: Precision, argument_0: tuple[Known, ...], argument_1: int) -> Deviation:
    """One of several results."""
    if not -len(argument_0) <= argument_1 < len(argument_0):
        raise Declined("takes the place of a number, not the number")
    return argument_0[argument_1].deviation


def kept(_precision: Precision, self: Known, **_how: object) -> Deviation:
    """Copies, and casts: graphs of narrower floats than what is counted on are not made."""
    return self.deviation


def joined(_precision: Precision, tensors: Sequence[Known], dim: int) -> Deviation:
    """Tensors one after another."""
    return _side_by_side(tensors, torch.cat([each.deviation.entries for each in tensors], dim))


def stacked(_precision: Precision, tensors: Sequence[Known], dim: int) -> Deviation:
    """Tensors along a new axis."""
    return _side_by_side(tensors, torch.stack([each.deviation.entries for each in tensors], dim))


def _writing(overload: Callable[..., Tensor]) -> Rule:
    def write(_precision: Precision, self: Known, src: Known, **arguments: Any) -> Deviation:
        return _side_by_side(
            [self, src], overload(self.deviation.entries, src.deviation.entries, **arguments)
        )

    return write


def selected(_precision: Precision, condition: Known, self: Operand, other: Operand) -> Deviation:
    """One or the other by a condition that is known."""
    if condition.varies or not condition.hull.is_exact:
        raise Declined("chooses by a condition that is not a constant")
    if not isinstance(self, Known) or not isinstance(other, Known):
        raise Declined("chooses between numbers")
    chosen = condition.hull.lower != 0
    return Deviation.within(torch.where(chosen, self.deviation.entries, other.deviation.entries))


def padded(
    precision: Precision, self: Known, pad: Sequence[int], mode: str, value: float | None
) -> Deviation:
    """Numbers around, of the tensor itself or one that may be rounded."""
    if mode == "constant":
        return padded_with_number(precision, self, pad, 0.0 if value is None else value)
    # Some entries are repeated more often than others, so lengths follow from entries alone.
    return Deviation.within(functional.pad(self.deviation.entries, list(pad), mode))


def padded_with_number(
    precision: Precision, self: Known, pad: Sequence[int], value: float
) -> Deviation:
    """One number around."""
    off = precision.of_number(float(value))
    entries = functional.pad(self.deviation.entries, list(pad), "constant", off)
    return Deviation.within(entries, self.deviation.length if off == 0.0 else None)


def undropped(precision: Precision, input: Known, p: float, train: bool) -> Deviation:
    """Nothing, outside of training."""
    del p
    if train:
        raise Declined("drops numbers at random")
    return kept(precision, input)


#: Operators of several results, each a part of the operand.
PARTING: Mapping[str, Callable[..., Sequence[Tensor]]] = {
    "aten.chunk.default": torch.ops.aten.chunk.default,
    "aten.split.Tensor": torch.ops.aten.split.Tensor,
    "aten.split_with_sizes.default": torch.ops.aten.split_with_sizes.default,
    "aten.unbind.int": torch.ops.aten.unbind.int,
}

#: By overload.
RULES: Rules = {
    "aten.alias.default": _moving(torch.ops.aten.alias.default),
    "aten.expand.default": _moving(torch.ops.aten.expand.default),
    "aten.flatten.using_ints": _moving(torch.ops.aten.flatten.using_ints),
    "aten.flip.default": _moving(torch.ops.aten.flip.default),
    "aten.movedim.int": _moving(torch.ops.aten.movedim.int),
    "aten.numpy_T.default": _moving(torch.ops.aten.numpy_T.default),
    "aten.permute.default": _moving(torch.ops.aten.permute.default),
    "aten.ravel.default": _moving(torch.ops.aten.ravel.default),
    "aten.repeat.default": _moving(torch.ops.aten.repeat.default),
    "aten.mT.default": _moving(torch.ops.aten.mT.default),
    "aten.narrow.default": _moving(torch.ops.aten.narrow.default),
    "aten.reshape.default": _moving(torch.ops.aten.reshape.default),
    "aten.roll.default": _moving(torch.ops.aten.roll.default),
    "aten.squeeze.default": _moving(torch.ops.aten.squeeze.default),
    "aten.squeeze.dims": _moving(torch.ops.aten.squeeze.dims),
    "aten.swapaxes.default": _moving(torch.ops.aten.swapaxes.default),
    "aten.select.int": _moving(torch.ops.aten.select.int),
    "aten.select_scatter.default": _writing(torch.ops.aten.select_scatter.default),
    "aten.slice_scatter.default": _writing(torch.ops.aten.slice_scatter.default),
    "aten.slice.Tensor": _moving(torch.ops.aten.slice.Tensor),
    "aten.squeeze.dim": _moving(torch.ops.aten.squeeze.dim),
    "aten.t.default": _moving(torch.ops.aten.t.default),
    "aten.transpose.int": _moving(torch.ops.aten.transpose.int),
    "aten.unflatten.int": _moving(torch.ops.aten.unflatten.int),
    "aten.unsqueeze.default": _moving(torch.ops.aten.unsqueeze.default),
    "aten.view.default": viewed,
    **{operator: _parting(overload) for operator, overload in PARTING.items()},
    "python.getitem": picked,
    "aten.clone.default": kept,
    "aten.contiguous.default": kept,
    "aten.detach.default": kept,
    "aten.to.device": kept,
    "aten.to.dtype": kept,
    "aten.cat.default": joined,
    "aten.constant_pad_nd.default": padded_with_number,
    "aten.dropout.default": undropped,
    "aten.pad.default": padded,
    "aten.stack.default": stacked,
    "aten.where.self": selected,
}


def _side_by_side(tensors: Sequence[Known], entries: Tensor) -> Deviation:
    lengths = torch.stack([each.deviation.length for each in tensors])
    return Deviation.within(entries, euclidean(lengths))

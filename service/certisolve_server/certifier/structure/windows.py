"""Operators of nodes that are neither moves nor scalings: convolutions, means, matrices."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from certisolve_server.certifier.arithmetic import Interval
from certisolve_server.certifier.errors import InvalidRequest
from certisolve_server.certifier.graph.node import Argument, Node, Ref
from certisolve_server.certifier.operators import (
    Composition,
    Convolution,
    Dense,
    LinearOperator,
    Pointwise,
    Rearrangement,
)
from certisolve_server.certifier.rules import Abstraction

from .transposed import Transposed

_CONVOLUTIONS = frozenset(f"aten.conv{axes}d.default" for axes in (1, 2, 3))
_TRANSPOSED = frozenset(
    {"aten.conv_transpose1d.default", "aten.conv_transpose2d.input", "aten.conv_transpose3d.input"}
)


def operator_of(node: Node, known: Mapping[str, Any]) -> LinearOperator | None:
    """The operator of a node of one operand that varies; None where it has none here.

    Args:
        node: of one request, that is of a batch of one.
        known: of constants their abstractions; of the operand anything with `bounds`, and where it
            is wrapped around, `inner` and `sides`.
    """
    if node.operator in _CONVOLUTIONS:
        return _convolution(node, known)
    if any(_sides(ref, known) is not None for ref in node.refs):
        return None
    if node.operator in _TRANSPOSED:
        return _transposed(node, known)
    if node.operator == "aten.avg_pool2d.default":
        return _average(node, known)
    if node.operator == "aten.mean.dim":
        return _mean(node, known)
    if node.operator == "aten.linear.default":
        return _layer(node, known)
    if node.operator in ("aten.addmm.default", "aten.mm.default", "aten.matmul.default"):
        return _product(node, known)
    return None


def _layer(node: Node, known: Mapping[str, Any]) -> LinearOperator | None:
    weight = _constant(node.arguments["weight"], known)
    shape = _shape(node.arguments["input"], known)
    return None if weight is None or shape is None else _matrix(weight, shape)


def _convolution(node: Node, known: Mapping[str, Any]) -> LinearOperator | None:
    weight, shape = (
        _constant(node.arguments["weight"], known),
        _shape(node.arguments["input"], known),
    )
    if weight is None or shape is None or len(shape) != weight.ndim or shape[0] != 1:
        return None
    axes, sides = weight.ndim - 2, _sides(node.arguments["input"], known)
    padding = _per_axis(node.arguments["padding"], axes)
    if sides is not None:
        # Last axis first, before and after.
        before, after = tuple(sides[::2][::-1]), tuple(sides[1::2][::-1])
        if any(padding) or before != after or len(before) != axes:
            return None
        padding = before
    try:
        return Convolution(
            weight,
            tuple(shape[2:]),
            stride=_per_axis(node.arguments["stride"], axes),
            padding=padding,
            dilation=_per_axis(node.arguments["dilation"], axes),
            groups=int(str(node.arguments["groups"])),
            circular=sides is not None,
        )
    except InvalidRequest:
        return None


def _transposed(node: Node, known: Mapping[str, Any]) -> LinearOperator | None:
    weight, shape = (
        _constant(node.arguments["weight"], known),
        _shape(node.arguments["input"], known),
    )
    if weight is None or shape is None or len(shape) != weight.ndim or shape[0] != 1:
        return None
    axes = weight.ndim - 2
    try:
        back = Convolution(
            weight,
            node.shape[2:],
            stride=_per_axis(node.arguments["stride"], axes),
            padding=_per_axis(node.arguments["padding"], axes),
            dilation=_per_axis(node.arguments["dilation"], axes),
            groups=int(str(node.arguments["groups"])),
        )
    except InvalidRequest:
        return None
    return Transposed(back) if back.output_grid == shape[2:] else None


def _average(node: Node, known: Mapping[str, Any]) -> LinearOperator | None:
    shape = _shape(node.arguments["self"], known)
    if shape is None or len(shape) != 4 or shape[0] != 1:
        return None
    around = _per_axis(node.arguments["padding"], 2)
    uneven = any(around) and not node.arguments["count_include_pad"]
    if node.arguments["ceil_mode"] or uneven or node.arguments["divisor_override"] is not None:
        return None
    size = _per_axis(node.arguments["kernel_size"], 2)
    ones = Interval.exact(torch.ones(shape[1], 1, *size, dtype=torch.float64))
    return Convolution(
        ones / float(math.prod(size)),
        shape[2:],
        stride=_per_axis(node.arguments["stride"] or size, 2),
        padding=around,
        dilation=(1, 1),
        groups=shape[1],
    )


def _mean(node: Node, known: Mapping[str, Any]) -> LinearOperator | None:
    """Over all of the last axes: one row at all places of the others."""
    shape, dims = _shape(node.arguments["self"], known), node.arguments["dim"]
    if shape is None:
        return None
    axes = sorted(int(str(d)) % len(shape) for d in dims) if isinstance(dims, tuple) else []
    if not axes or axes != list(range(axes[0], len(shape))):
        return None
    count = math.prod(shape[axes[0] :])
    row = Interval.exact(torch.ones(1, count, dtype=torch.float64)) / float(count)
    return _matrix(row, (*shape[: axes[0]], count))


def _product(node: Node, known: Mapping[str, Any]) -> LinearOperator | None:
    """Of a matrix that varies with a constant one."""
    first, second = [each for each in node.arguments.values() if isinstance(each, Ref)][-2:]
    weight, shape = _constant(second, known), _shape(first, known)
    if weight is None or shape is None or weight.ndim != 2 or node.arguments.get("alpha", 1) != 1:
        return None
    return _matrix(weight.rearranged(lambda ends: ends.mT), shape)


def _matrix(weight: Interval, shape: tuple[int, ...]) -> LinearOperator:
    """A matrix that acts on the last axis, at all places of the others."""
    places, size = math.prod(shape[:-1]), shape[-1]
    if places == 1:
        return Dense(weight)
    numbers = torch.arange(places * size).reshape(places, size)
    results = torch.arange(weight.shape[0] * places).reshape(weight.shape[0], places)
    return Composition(
        (
            Rearrangement(numbers.mT.flatten(), places * size),
            Pointwise(weight, places),
            Rearrangement(results.mT.flatten(), results.numel()),
        )
    )


def _constant(argument: Argument, known: Mapping[str, Any]) -> Interval | None:
    value = known[argument.name] if isinstance(argument, Ref) else None
    if not isinstance(value, Abstraction):
        return None
    return value.value.rearranged(lambda ends: ends[0])


def _shape(argument: Argument, known: Mapping[str, Any]) -> tuple[int, ...] | None:
    """Of what varies, without what is wrapped around it; None of a constant."""
    value = known[argument.name] if isinstance(argument, Ref) else None
    if value is None or isinstance(value, Abstraction):
        return None
    return tuple(getattr(value, "inner", value).bounds.shape[1:])


def _sides(argument: Argument, known: Mapping[str, Any]) -> tuple[int, ...] | None:
    """What is wrapped around it; None of nothing."""
    return getattr(known[argument.name], "sides", None) if isinstance(argument, Ref) else None


def _per_axis(numbers: Argument, axes: int) -> tuple[int, ...]:
    """ATen reads one number as that of each axis."""
    listed: Sequence[Argument] = numbers if isinstance(numbers, tuple) else (numbers,)
    found = tuple(int(str(number)) for number in listed)
    return found * axes if len(found) == 1 else found

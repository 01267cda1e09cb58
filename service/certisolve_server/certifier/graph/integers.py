"""Integer and boolean tensors that are known beforehand: indices, frequencies, comparisons.

They are computed exactly or not at all. An integer that overflowed would wrap around without a
word, so arithmetic is done in int64 and in float64, and both have to agree below 2**53.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from certisolve_server.certifier.arithmetic import Interval
from certisolve_server.certifier.errors import NotCertified

from .node import Argument, Constant, Kind, Node, Ref

_EXACT = 2.0**53
_ARITHMETIC = frozenset(
    {
        "aten.add.Tensor",
        "aten.floor_divide.default",
        "aten.mul.Tensor",
        "aten.neg.default",
        "aten.prod.dim_int",
        "aten.remainder.Scalar",
        "aten.remainder.Tensor",
        "aten.rsub.Scalar",
        "aten.sub.Tensor",
    }
)
_COMPARISONS = frozenset(
    f"aten.{name}.{overload}"
    for name in ("eq", "ge", "gt", "le", "lt", "ne")
    for overload in ("Scalar", "Tensor")
)
_LOGIC = frozenset({"aten.__and__.Tensor", "aten.__or__.Tensor", "aten.logical_not.default"})
_MOVES = frozenset(
    {
        "aten.arange.default",
        "aten.arange.start",
        "aten.arange.start_step",
        "aten.cat.default",
        "aten.clone.default",
        "aten.expand.default",
        "aten.flatten.using_ints",
        "aten.full.default",
        "aten.permute.default",
        "aten.repeat.default",
        "aten.reshape.default",
        "aten.select.int",
        "aten.slice.Tensor",
        "aten.squeeze.dim",
        "aten.stack.default",
        "aten.to.dtype",
        "aten.unsqueeze.default",
        "aten.view.default",
    }
)
# What holds each kind exactly; other integers than int64 wrap around elsewhere.
_DTYPES: Mapping[Kind, torch.dtype] = MappingProxyType(
    {"integer": torch.int64, "boolean": torch.bool, "real": torch.float64}
)

#: Of integer and boolean results; all else is refused where a number of a model depends on it.
INTEGER_OPERATORS = _ARITHMETIC | _COMPARISONS | _LOGIC | _MOVES


def evaluate_integers(node: Node, constants: Mapping[str, Constant]) -> Tensor | None:
    """The result of a node of integers or booleans, or None where it cannot be had exactly.

    None for operators that are not listed, for integers other than int64, and for comparisons of
    numbers that are enclosed but not known: whether such a comparison holds may differ between two
    points of the enclosure.

    Raises:
        NotCertified: an integer leaves the range in which int64 and float64 agree.
    """
    if node.operator not in INTEGER_OPERATORS:
        return None
    operands = [constants[ref.name] for ref in node.refs]
    if any(each.kind not in _DTYPES for each in operands):
        return None
    if any(not torch.equal(each.value.lower, each.value.upper) for each in operands):
        return None
    if any(each.kind == "real" for each in operands) and node.operator not in _COMPARISONS:
        return None
    operator = _overload(node.operator)
    result: Tensor = operator(**_call(node, constants, _as_itself))
    if node.operator in _ARITHMETIC:
        twin = operator(**_call(node, constants, _as_float))
        if not bool(((result == twin) & (twin.abs() < _EXACT)).all()):
            raise NotCertified(f"integers at node {node.name!r} leave the range that is exact")
    return result


def as_constant(node: Node, result: Tensor) -> Constant:
    """The integers as exact reals."""
    return Constant(node.name, Interval.exact(result.to(torch.float64)), node.kind)


def _overload(operator: str) -> Callable[..., Any]:
    _, name, overload = operator.split(".")
    found: Callable[..., Any] = getattr(getattr(torch.ops.aten, name), overload)
    return found


def _as_itself(constant: Constant) -> Tensor:
    return constant.value.lower.to(_DTYPES[constant.kind])


def _as_float(constant: Constant) -> Tensor:
    return constant.value.lower


def _call(
    node: Node, constants: Mapping[str, Constant], read: Callable[[Constant], Tensor]
) -> dict[str, Any]:
    def convert(argument: Argument) -> Any:
        if isinstance(argument, Ref):
            return read(constants[argument.name])
        if isinstance(argument, tuple):
            return [convert(item) for item in argument]
        return argument

    # Types and devices are settled by the node's kind and by this being a CPU.
    placing = ("device", "dtype", "layout", "memory_format", "pin_memory", "requires_grad")
    arguments = {
        name: convert(value) for name, value in node.arguments.items() if name not in placing
    }
    if node.operator in ("aten.to.dtype", "aten.full.default"):
        arguments["dtype"] = _DTYPES[node.kind]
    return arguments

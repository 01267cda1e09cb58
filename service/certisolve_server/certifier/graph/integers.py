"""Integer and boolean tensors that are known beforehand: indices, frequencies, comparisons.

They are computed exactly or not at all. An integer that overflowed would wrap around without a
word, so arithmetic is done in int64 and in float64, and both have to agree below 2**53.
"""

from collections.abc import Callable, Mapping, Sequence
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

_COUNTS = frozenset({"aten.arange.default", "aten.arange.start", "aten.arange.start_step"})

# In which a program may be executed.
_FLOATS = (torch.float32, torch.bfloat16, torch.float16)

#: Of integer and boolean results; all else is refused where a number of a model depends on it.
INTEGER_OPERATORS = _ARITHMETIC | _COMPARISONS | _LOGIC | _MOVES


def evaluate_integers(node: Node, constants: Mapping[str, Constant]) -> Tensor | None:
    """The result of a node of integers or booleans, or None where it cannot be had exactly.

    None for operators that are not listed, for integers other than int64, for counts by fractions,
    and for comparisons of numbers that are enclosed but not known, or that torch rounds before it
    compares them: whether such a comparison holds may differ between two points of the enclosure.

    Raises:
        NotCertified: an integer leaves the range in which int64 and float64 agree.
    """
    if node.operator not in INTEGER_OPERATORS:
        return None
    operands = [constants[ref.name] for ref in node.refs]
    if not _is_known(node, operands):
        return None
    operator = _overload(node.operator)
    result: Tensor = operator(**_call(node, constants, _as_itself))
    if node.operator in _COMPARISONS and _has_floats(node, operands):
        twins = (operator(**_rounded(node, constants, dtype)) for dtype in _FLOATS)
        return result if all(torch.equal(result, twin) for twin in twins) else None
    if node.operator in _ARITHMETIC:
        twin = operator(**_call(node, constants, _as_float))
        if not bool(((result == twin) & (twin.abs() < _EXACT)).all()):
            raise NotCertified(f"integers at node {node.name!r} leave the range that is exact")
    return result


def as_constant(node: Node, result: Tensor) -> Constant:
    """The integers as exact reals."""
    return Constant(node.name, Interval.exact(result.to(torch.float64)), node.kind)


def _is_known(node: Node, operands: Sequence[Constant]) -> bool:
    """Whether all that the node is computed from is known exactly, in a type of its own."""
    if any(each.kind not in _DTYPES for each in operands):
        return False
    if any(not torch.equal(each.value.lower, each.value.upper) for each in operands):
        return False
    if node.operator in _COUNTS:
        return all(map(_is_whole, node.arguments.values()))
    return node.operator in _COMPARISONS or all(each.kind != "real" for each in operands)


def _is_whole(argument: Argument) -> bool:
    """False of a fraction, of which torch keeps the whole part in some places."""
    return not isinstance(argument, float) or argument.is_integer()


def _has_floats(node: Node, operands: Sequence[Constant]) -> bool:
    numbers = (isinstance(value, float) for value in node.arguments.values())
    return any(numbers) or any(each.kind == "real" for each in operands)


def _rounded(node: Node, constants: Mapping[str, Constant], dtype: torch.dtype) -> dict[str, Any]:
    """The operands of a comparison in the type of one of them.

    Numbers, tensors without axes and integers give way to floats in tensors with axes.
    """

    def read(constant: Constant) -> Tensor:
        value = constant.value.lower
        is_kept = constant.kind == "real" and value.ndim > 0
        return value if is_kept else value.to(dtype).double()

    called = _call(node, constants, read)
    return {
        name: float(torch.tensor(value, dtype=torch.float64).to(dtype))
        if isinstance(value, int | float)
        else value
        for name, value in called.items()
    }


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

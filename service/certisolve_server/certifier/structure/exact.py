"""Matrices of dense layers right behind a source, as they are stored: I W^T is W^T, unrounded."""

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch

from certisolve_server.certifier.arithmetic import Interval
from certisolve_server.certifier.graph.node import Node, Ref
from certisolve_server.certifier.interpreter import apply
from certisolve_server.certifier.rules import Abstraction


def exact_layer(node: Node, known: Mapping[str, Any]) -> Abstraction | None:
    """What the rule of a dense layer gives, without its rounding; None where it is none."""
    arguments = node.arguments
    if node.operator == "aten.linear.default":
        operand, factor = arguments["input"], _constant(arguments["weight"], known)
        factor = None if factor is None else factor.rearranged(lambda ends: ends.mT)
    elif node.operator == "aten.addmm.default" and arguments["alpha"] == 1:
        operand, factor = arguments["mat1"], _constant(arguments["mat2"], known)
    else:
        return None
    x = known[operand.name] if isinstance(operand, Ref) else None
    if factor is None or not isinstance(x, Abstraction) or len(x.jacobian) != 1:
        return None
    if any(known[ref.name].jacobian for ref in node.refs if ref != operand):
        return None
    ((source, block),) = x.jacobian.items()
    if math.prod(x.shape) != x.shape[-1] or not _is_identity(block):
        return None
    value = apply(node, {**known, operand.name: Abstraction(x.value)}).value  # type: ignore[union-attr]
    matrix = factor.rearranged(lambda ends: ends.reshape(1, -1, *node.shape))
    return Abstraction(value, MappingProxyType({source: matrix}))


def _constant(argument: object, known: Mapping[str, Any]) -> Interval | None:
    """A matrix that is the same on all of the set."""
    value = known[argument.name] if isinstance(argument, Ref) else None
    if not isinstance(value, Abstraction) or value.jacobian or len(value.shape) != 2:
        return None
    return value.value.rearranged(lambda ends: ends[0])


def _is_identity(block: Interval) -> bool:
    size = block.shape[1]
    if not block.is_exact or block.lower.numel() != size * size:
        return False
    return torch.equal(block.lower.reshape(size, size), torch.eye(size, dtype=torch.float64))

"""Matrices of dense layers right behind a source, as they are stored: I W^T is W^T, unrounded."""

from types import MappingProxyType

from certisolve_server.certifier.arithmetic import Interval
from certisolve_server.certifier.graph.node import Node, Ref
from certisolve_server.certifier.interpreter import apply
from certisolve_server.certifier.rules import Abstraction

from .known import Known


def exact_layer(node: Node, known: Known) -> Abstraction | None:
    """What the rule of a dense layer gives, without its rounding; None where it is none."""
    arguments = node.arguments
    if node.operator == "aten.linear.default":
        operand, factor = arguments["input"], _constant(arguments["weight"], known)
        factor = None if factor is None else factor.rearranged(lambda ends: ends.mT)
    elif node.operator == "aten.addmm.default" and arguments["alpha"] == 1:
        operand, factor = arguments["mat1"], _constant(arguments["mat2"], known)
    else:
        return None
    source = known.bare.get(operand.name) if isinstance(operand, Ref) else None
    if factor is None or source is None or source.value.lower.numel() != factor.shape[0]:
        return None
    if any(known[ref.name].jacobian for ref in node.refs if ref != operand):
        return None
    plain = {**known, operand.name: Abstraction(source.value)}  # type: ignore[union-attr]
    value = apply(node, plain).value
    matrix = factor.rearranged(lambda ends: ends.reshape(1, -1, *node.shape))
    return Abstraction(value, MappingProxyType({source.name: matrix}))


def _constant(argument: object, known: Known) -> Interval | None:
    """A matrix that is the same on all of the set."""
    value = known[argument.name] if isinstance(argument, Ref) else None
    if not isinstance(value, Abstraction) or value.jacobian or len(value.shape) != 2:
        return None
    return value.value.rearranged(lambda ends: ends[0])

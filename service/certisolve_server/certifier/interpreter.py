"""One walk over a graph: each node's rule applied to what is known of its operands."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeAlias

import torch

from .arithmetic import Interval, NotABound, OutsideDomain
from .errors import NotCertified, PossiblyDiscontinuous, UnsupportedOperator
from .graph.node import Argument, Constant, Graph, Node, Ref
from .rules import RULES, Abstraction, Declined, constant, may_jump

#: Called with each node's name and abstraction; what it returns is gone on with.
Observe: TypeAlias = Callable[[str, Abstraction], Abstraction]


def unobserved(_name: str, abstraction: Abstraction) -> Abstraction:
    """Goes on with what the rule gave."""
    return abstraction


def interpret(
    graph: Graph, inputs: Mapping[str, Abstraction], observe: Observe = unobserved
) -> Abstraction:
    """What is known of the output, from what is known of the inputs.

    Args:
        graph: checked by `refuse_unsupported`.
        inputs: for each varying input; all of as many boxes, or of one.
        observe: may replace an abstraction by a tighter one.

    Raises:
        UnsupportedOperator: a rule does not hold for the arguments of a node.
        NotCertified: the arithmetic gave no bound at a node.
    """
    known: dict[str, Any] = {name: constant(each.value) for name, each in graph.constants.items()}
    known.update(inputs)
    last_use = _last_uses(graph)
    for position, node in enumerate(graph.nodes):
        result = apply(node, known)
        known[node.name] = observe(node.name, result) if _is_tensor(result) else result
        for name in last_use.get(position, ()):
            del known[name]
    output = known[graph.output]
    if not isinstance(output, Abstraction):
        raise UnsupportedOperator("the output", graph.output, "is not one tensor")
    return output


def values_along(
    graph: Graph, inputs: Mapping[str, Abstraction], observe: Observe = unobserved
) -> dict[str, Interval]:
    """The values of all inputs, and of all nodes with one result, (boxes, *shape).

    Args and errors are those of `interpret`.
    """
    found = {name: abstraction.value for name, abstraction in inputs.items()}

    def record(name: str, abstraction: Abstraction) -> Abstraction:
        seen = observe(name, abstraction)
        found[name] = seen.value
        return seen

    interpret(graph, inputs, record)
    return found


def evaluate(node: Node, constants: Mapping[str, Constant]) -> Interval | None:
    """The value of a node of constants, or None where it has no rule or several results."""
    if node.kind != "real" or node.operator not in RULES:
        return None
    known = {ref.name: constant(constants[ref.name].value) for ref in node.refs}
    result = apply(node, known)
    if not isinstance(result, Abstraction):
        return None
    return result.value.rearranged(lambda bound: bound[0])


def evaluate_exactly(node: Node, constants: Mapping[str, Constant]) -> Interval | None:
    """As `evaluate`, but None for what has been computed instead of just moved."""
    value = evaluate(node, constants)
    return value if value is not None and value.is_exact else None


def apply(node: Node, known: Mapping[str, Any]) -> Any:
    """The rule of a node, called with what is known of its operands."""
    rule = RULES.get(node.operator)
    if rule is None:
        raise refusal(node)
    arguments = {name: _filled_in(value, known) for name, value in node.arguments.items()}
    try:
        return _of_shape(node, rule(**arguments))
    except Declined as declined:
        raise UnsupportedOperator(node.operator, node.name, str(declined)) from declined
    except (NotABound, OutsideDomain) as error:
        message = f"{node.operator} at node {node.name!r} has no bound: {error}"
        raise NotCertified(message) from error


def refuse_unsupported(graph: Graph) -> None:
    """Returns if there is a rule for every node, and none declines the arguments of its node.

    Raises:
        PossiblyDiscontinuous: a gate decides by a value that varies.
        UnsupportedOperator: any other operator without a rule, or that is one with other arguments
            alone, such as dropout: by its name and its node's.
    """
    by_name = {node.name: node for node in graph.nodes}
    for node in graph.nodes:
        if node.kind != "real" or node.operator not in RULES:
            raise refusal(node, _origin(node, by_name))
    _refuse_declined(graph)


def _refuse_declined(graph: Graph) -> None:
    """Every rule once, of inputs that vary and may be anything; so may what has no bound then."""
    known: dict[str, Any] = {name: constant(each.value) for name, each in graph.constants.items()}
    known.update((each.name, _anything(each.shape)) for each in graph.inputs)
    for node in graph.nodes:
        try:
            known[node.name] = apply(node, known)
        except NotCertified:
            known[node.name] = _anything(node.shape)


def _anything(shape: tuple[int, ...]) -> Abstraction:
    """Any value, and that it varies."""
    block = Interval.exact(torch.zeros((1, 1, *shape), dtype=torch.float64))
    return Abstraction(Interval.entire((1, *shape)), MappingProxyType({"": block}))


def refusal(node: Node, operator: str | None = None) -> PossiblyDiscontinuous | UnsupportedOperator:
    """Why a node is not gone through; `operator` is whose result it is, if not its own."""
    name = operator or node.operator
    if node.kind in ("integer", "boolean") or may_jump(name):
        return PossiblyDiscontinuous(name, node.name)
    return UnsupportedOperator(name, node.name)


def _origin(node: Node, by_name: Mapping[str, Node]) -> str:
    """The operator whose result a node is, also where it is one of several."""
    is_part = node.operator == "python.getitem" and node.refs[0].name in by_name
    return by_name[node.refs[0].name].operator if is_part else node.operator


def _of_shape(node: Node, result: Any) -> Any:
    """The result, if its shape is the one that torch gives the node."""
    if isinstance(result, Abstraction) and result.shape != node.shape:
        reason = f"has a rule that gives the shape {result.shape} instead of {node.shape}"
        raise UnsupportedOperator(node.operator, node.name, reason)
    return result


def _is_tensor(result: object) -> bool:
    return isinstance(result, Abstraction)


def _filled_in(argument: Argument, known: Mapping[str, Any]) -> Any:
    if isinstance(argument, Ref):
        return known[argument.name]
    if isinstance(argument, tuple):
        return tuple(_filled_in(item, known) for item in argument)
    return argument


def _last_uses(graph: Graph) -> Mapping[int, list[str]]:
    """The names that are not needed after a node, by its position."""
    last: dict[str, int] = {}
    for position, node in enumerate(graph.nodes):
        last.update((ref.name, position) for ref in node.refs)
    last.pop(graph.output, None)
    uses: dict[int, list[str]] = {}
    for name, position in last.items():
        uses.setdefault(position, []).append(name)
    return uses

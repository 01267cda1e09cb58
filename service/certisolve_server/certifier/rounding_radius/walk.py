"""One walk over a graph: how far two ways to compute each node are apart.

What the two ways are is up to whom it is told by. Of a computed point and all points of a region
around it, each value is where both lie, and the walk gives an enclosure of the map on the region.
Of the map on reals and of its execution in floats, it gives how far rounding leads away.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from torch import Tensor

from certisolve_server.certifier.arithmetic import Interval, NotABound, OutsideDomain
from certisolve_server.certifier.arithmetic.rounding import sum_up
from certisolve_server.certifier.errors import NotCertified, UnsupportedOperator
from certisolve_server.certifier.graph.node import Argument, Graph, Node, Ref
from certisolve_server.certifier.rules import Declined

from . import (
    arithmetic,
    composed,
    contractions,
    convolutions,
    creation,
    exponentials,
    functions,
    grids,
    moves,
    normalization,
    order,
    products,
)
from .deviation import Deviation, Known, widened
from .precision import Precision
from .rule import Rules

_FAMILIES: tuple[Rules, ...] = (
    arithmetic.RULES,
    composed.RULES,
    contractions.RULES,
    convolutions.RULES,
    creation.RULES,
    exponentials.RULES,
    functions.RULES,
    grids.RULES,
    moves.RULES,
    normalization.RULES,
    order.RULES,
    products.RULES,
)

#: By overload.
RULES: Rules = {operator: rule for family in _FAMILIES for operator, rule in family.items()}

_PARTING = {**moves.PARTING, **order.PARTING}

#: From a node's name and the deviation of its value to where both values lie.
Hull: TypeAlias = Callable[[str, Deviation], Interval]


class Walk:
    """A graph made ready: its constants are looked at once.

    Args:
        graph: each of its nodes with a rule of rounding.
        precision: of what is computed.

    Raises:
        UnsupportedOperator: an operator has no rule of rounding.
        NotCertified: a constant overflows.
    """

    def __init__(self, graph: Graph, precision: Precision) -> None:
        self._graph, self._precision = graph, precision
        for node in graph.nodes:
            if node.operator not in RULES or node.kind != "real":
                raise UnsupportedOperator(node.operator, node.name, "has no rule of rounding")
        self._constants = {
            name: _constant(precision, name, each.value) for name, each in graph.constants.items()
        }

    def output(self, inputs: Mapping[str, Known], hull: Hull) -> Known:
        """What is known of the output.

        Args:
            inputs: of each varying input.
            hull: where both values of a node lie.

        Raises:
            UnsupportedOperator: a rule does not hold for some arguments.
            NotCertified: a value may overflow, or there is no bound at a node.
        """
        known: dict[str, Any] = {**self._constants, **inputs}
        for node in self._graph.nodes:
            known[node.name] = _apply(node, self._precision, known, hull)
        output = known[self._graph.output]
        if not isinstance(output, Known):
            raise UnsupportedOperator("the output", self._graph.output, "is not one tensor")
        return output


def _constant(precision: Precision, name: str, value: Interval) -> Known:
    if not bool((value.magnitude <= precision.largest).all()):
        raise NotCertified(f"the constant {name!r} is too large")
    middle, radius = value.midpoint_radius()
    # Of a wider type it may be rounded before it is used, of a narrower one it is held.
    deviation = Deviation.within(sum_up(radius, precision.of_constants(middle)))
    return Known(value if deviation.is_none else widened(value, deviation), deviation, False)


def _apply(node: Node, precision: Precision, known: Mapping[str, Any], hull: Hull) -> Any:
    rule = RULES[node.operator]
    arguments = {name: _filled_in(value, known) for name, value in node.arguments.items()}
    varies = any(_varies(each) for each in arguments.values())
    try:
        result = rule(precision, **arguments)
        if isinstance(result, tuple):
            return _parts(node, result, arguments, varies)
        _require_shape(node, result)
        return _bounded(node, precision, Known(hull(node.name, result), result, varies))
    except Declined as declined:
        raise UnsupportedOperator(node.operator, node.name, str(declined)) from declined
    except (NotABound, OutsideDomain, ValueError) as error:
        message = f"{node.operator} at node {node.name!r} has no bound: {error}"
        raise NotCertified(message) from error


def _bounded(node: Node, precision: Precision, result: Known) -> Known:
    # False of NaN.
    if not bool((result.size < precision.largest).all()):
        raise NotCertified(f"{node.operator} at node {node.name!r} may overflow")
    return result


def _require_shape(node: Node, result: Deviation) -> None:
    if tuple(result.entries.shape) != node.shape:
        reason = f"has a rule of rounding that gives {tuple(result.entries.shape)}"
        raise UnsupportedOperator(node.operator, node.name, reason)


def _parts(
    node: Node, results: tuple[Deviation, ...], arguments: Mapping[str, Any], varies: bool
) -> tuple[Known, ...]:
    """Several results, each made of the entries of one operand."""
    whole: Known = arguments["self"]
    rest = {name: value for name, value in arguments.items() if name != "self"}
    lower, upper = (_PARTING[node.operator](end, **rest) for end in _ends(whole))
    return tuple(
        Known(Interval(low, high), deviation, varies)
        for low, high, deviation in zip(lower, upper, results, strict=True)
    )


def _ends(known: Known) -> tuple[Tensor, Tensor]:
    return known.hull.lower, known.hull.upper


def _varies(argument: Any) -> bool:
    if isinstance(argument, tuple):
        return any(_varies(item) for item in argument)
    return isinstance(argument, Known) and argument.varies


def _filled_in(argument: Argument, known: Mapping[str, Any]) -> Any:
    if isinstance(argument, Ref):
        return known[argument.name]
    if isinstance(argument, tuple):
        return tuple(_filled_in(item, known) for item in argument)
    return argument

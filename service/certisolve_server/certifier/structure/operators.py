"""The layers of a graph too large for matrices, as operators that know their structure.

Node by node, each value is kept as operators from every source, of `operators`: convolutions with
what scales their channels fused into their kernels, matrices, rearrangements, diagonals. A rule of
an operator that only moves or scales entries tells by its Jacobian where they go: it is applied to
the numbers of entries, and to ones. What has no structure here is refused.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeAlias

import torch

from certisolve_server.certifier.arithmetic import Interval
from certisolve_server.certifier.chains import Slopes
from certisolve_server.certifier.errors import InvalidRequest, NotCertified
from certisolve_server.certifier.graph.node import Graph, Node
from certisolve_server.certifier.interpreter import apply
from certisolve_server.certifier.operators import (
    Diagonal,
    LinearOperator,
    Rearrangement,
    Sum,
)
from certisolve_server.certifier.rules import Abstraction, arithmetic, constant, padding, shapes
from certisolve_server.certifier.rules.pointwise import FUNCTIONS

from .compose import after
from .slopes import slopes_of
from .windows import operator_of

#: By source; None stands for the identity.
Runs: TypeAlias = Mapping[str, LinearOperator | None]

_MOVING = shapes.RULES.keys() | padding.RULES.keys()
_SCALING = arithmetic.RULES.keys() | {"aten.batch_norm.default", "aten.dropout.default"}


@dataclass(frozen=True, eq=False)
class OperatorLayer:
    """H = f(z) of z = sum_j A_j h_j + b.

    Args:
        name: of its node, and of h as a source.
        runs: A_j.
        slopes: of f.
    """

    name: str
    runs: Runs
    slopes: Slopes


@dataclass(frozen=True, eq=False)
class Operators:
    """As `Layered`, of operators.

    Args:
        inputs: names of the varying inputs, sources each.
        layers: by their names sources as well, in order.
        output: the operators from each source.
        outputs: entries of the output.
    """

    inputs: tuple[str, ...]
    layers: tuple[OperatorLayer, ...]
    output: Runs
    outputs: int


@dataclass(frozen=True, eq=False)
class _Value:
    """A value that varies: where it lies, (1, *shape), and what it depends on."""

    bounds: Interval
    runs: Runs

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.bounds.shape[1:])


@dataclass(frozen=True, eq=False)
class _Wrapped:
    """A value with entries of its other sides around: what a convolution makes circular."""

    inner: _Value
    sides: tuple[int, ...]
    bounds: Interval


def operators_of(graph: Graph, values: Mapping[str, Interval] | None = None) -> Operators:
    """The layers of a graph on a set.

    Args:
        graph: from `prepare`.
        values: as of `fuse`.

    Raises:
        NotCertified: an operator has no structure here, or slopes are unbounded on the set.
        UnsupportedOperator: a rule does not hold for some arguments.
    """
    walk = _Walk(graph, values or {})
    for node in graph.nodes:
        walk.known[node.name] = walk.result(node)
    output = walk.known[graph.output]
    if not isinstance(output, _Value):
        raise NotCertified("the output does not vary")
    names = tuple(each.name for each in graph.inputs)
    return Operators(names, tuple(walk.layers), output.runs, output.bounds.lower.numel())


class _Walk:
    def __init__(self, graph: Graph, values: Mapping[str, Interval]) -> None:
        self._values = values
        self.layers: list[OperatorLayer] = []
        self.known: dict[str, Any] = {
            name: constant(each.value) for name, each in graph.constants.items()
        }
        for each in graph.inputs:
            bounds = values.get(each.name, Interval.entire((1, *each.shape)))
            self.known[each.name] = _Value(bounds, {each.name: None})

    def result(self, node: Node) -> Any:
        """What is known of a node."""
        varying = {
            ref.name: self.known[ref.name]
            for ref in node.refs
            if not isinstance(self.known[ref.name], Abstraction)
        }
        if not varying:
            return apply(node, self.known)
        if node.operator == "python.getitem":
            return self.known[node.refs[0].name][node.arguments["argument_1"]]
        operator = self._operator(node) if len(varying) == 1 else None
        if operator is not None:
            return self._structured(node, operator, *varying.items())
        if not all(isinstance(x, _Value) for x in varying.values()):
            raise _no_structure(node)
        if node.operator in FUNCTIONS:
            return self._function(node, next(iter(varying.values())))
        if node.operator == "aten.pad.default" and node.arguments["mode"] == "circular":
            return self._wrapped(node, *varying.items())
        if node.operator in _MOVING:
            return self._moved(node, varying)
        if node.operator in _SCALING:
            return self._scaled(node, varying)
        raise _no_structure(node)

    def _operator(self, node: Node) -> LinearOperator | None:
        try:
            return operator_of(node, self.known)
        except InvalidRequest as error:
            raise NotCertified(f"{node.operator} at node {node.name!r}: {error}") from error

    def _function(self, node: Node, x: _Value) -> _Value:
        bounds = apply(node, {node.refs[0].name: Abstraction(x.bounds)}).value
        self.layers.append(OperatorLayer(node.name, x.runs, slopes_of(node, x.bounds)))
        return _Value(self._sharpened(node, bounds), {node.name: None})

    def _moved(self, node: Node, varying: Mapping[str, _Value]) -> Any:
        numbers = {
            name: torch.arange(1, x.bounds.lower.numel() + 1, dtype=torch.float64)
            for name, x in varying.items()
        }
        results = self._applied(node, varying, numbers)
        if isinstance(results, Abstraction):
            return self._rearranged(node, results, varying)
        return tuple(self._rearranged(node, each, varying) for each in results)

    def _rearranged(self, node: Node, result: Abstraction, varying: Mapping[str, _Value]) -> _Value:
        runs: dict[str, LinearOperator | None] = {}
        for name, block in result.jacobian.items():
            source = block.lower.flatten().to(torch.int64) - 1
            x = varying[name]
            try:
                move = Rearrangement(source, x.bounds.lower.numel())
            except InvalidRequest as error:
                raise NotCertified(f"{node.operator} at node {node.name!r}: {error}") from error
            _add(runs, x.runs, move)
        return _Value(self._sharpened(node, result.value), runs)

    def _scaled(self, node: Node, varying: Mapping[str, _Value]) -> _Value:
        ones = {name: torch.ones(x.bounds.lower.numel()).double() for name, x in varying.items()}
        result = self._applied(node, varying, ones)
        runs: dict[str, LinearOperator | None] = {}
        for name, block in result.jacobian.items():
            if varying[name].shape != node.shape:
                raise _no_structure(node)
            _add(runs, varying[name].runs, Diagonal(block.rearranged(lambda ends: ends.flatten())))
        return _Value(self._sharpened(node, result.value), runs)

    def _structured(self, node: Node, operator: LinearOperator, operand: tuple[str, Any]) -> _Value:
        name, x = operand
        bounds = apply(node, {**self.known, name: Abstraction(x.bounds)}).value
        runs: dict[str, LinearOperator | None] = {}
        _add(runs, x.inner.runs if isinstance(x, _Wrapped) else x.runs, operator)
        return _Value(self._sharpened(node, bounds), runs)

    def _wrapped(self, node: Node, operand: tuple[str, _Value]) -> _Wrapped:
        name, x = operand
        sides = node.arguments["pad"]
        if not isinstance(sides, tuple):
            raise _no_structure(node)
        bounds = apply(node, {name: Abstraction(x.bounds)}).value
        return _Wrapped(x, tuple(int(str(side)) for side in sides), bounds)

    def _applied(
        self, node: Node, varying: Mapping[str, _Value], entries: Mapping[str, torch.Tensor]
    ) -> Any:
        """The rule, with the entries of each operand as its one slope."""
        known = dict(self.known)
        for name, x in varying.items():
            block = Interval.exact(entries[name].reshape(1, 1, *x.shape))
            known[name] = Abstraction(x.bounds, MappingProxyType({name: block}))
        return apply(node, known)

    def _sharpened(self, node: Node, bounds: Interval) -> Interval:
        known = self._values.get(node.name)
        return bounds if known is None else bounds.intersection(known)


def _add(runs: dict[str, LinearOperator | None], more: Runs, operator: LinearOperator) -> None:
    """Adds an operator after each of some runs."""
    for source, run in more.items():
        longer = after(operator, run)
        if source not in runs:
            runs[source] = longer
            continue
        runs[source] = Sum(
            (_explicit(runs[source], operator.outputs), _explicit(longer, operator.outputs))
        )


def _explicit(run: LinearOperator | None, size: int) -> LinearOperator:
    return Diagonal(Interval.exact(torch.ones(size).double())) if run is None else run


def _no_structure(node: Node) -> NotCertified:
    return NotCertified(f"{node.operator} at node {node.name!r} has no structured operator")

"""A graph as affine maps of atoms: its inputs, and results of functions and products.

The affine maps are read off the rules of the interpreter: an operator that is affine in its varying
operands maps values at 0 to the offset and Jacobians to the matrix, rounding included.
"""

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from certisolve_server.certifier.arithmetic import Interval
from certisolve_server.certifier.errors import CertifierError
from certisolve_server.certifier.functions import find
from certisolve_server.certifier.graph.edges import EDGES
from certisolve_server.certifier.graph.node import Graph, Node, Ref
from certisolve_server.certifier.interpreter import apply
from certisolve_server.certifier.rules import Abstraction, Declined, constant
from certisolve_server.certifier.rules.arithmetic import add, multiply, subtract
from certisolve_server.certifier.rules.pointwise import FUNCTIONS
from certisolve_server.certifier.rules.splines import edge_functions

from .edges import FlatEdges
from .tape import Affine, Apply, Multiply, Source, Step, Tape

#: Second derivatives with respect to more inputs are too many to be worth it.
MAX_INPUTS = 12

_MAX_MATRIX = 1 << 19
_LARGEST_ENTRY = 2.0**40

#: Affine in all of their operands together, wherever their rules hold.
_AFFINE = frozenset(
    f"aten.{name}"
    for name in (
        *("add.Tensor", "add.Scalar", "sub.Tensor", "sub.Scalar", "rsub.Scalar", "rsub.Tensor"),
        *("neg.default", "mean.default", "mean.dim", "sum.default", "sum.dim_IntList"),
        *("alias.default", "expand.default", "flatten.using_ints", "flip.default", "movedim.int"),
        *("numpy_T.default", "permute.default", "ravel.default", "repeat.default"),
        *("reshape.default", "select.int", "slice.Tensor", "squeeze.dim", "t.default"),
        *("transpose.int", "unflatten.int", "unsqueeze.default", "view.default"),
        *("chunk.default", "split.Tensor", "unbind.int", "clone.default", "contiguous.default"),
        *("detach.default", "to.device", "to.dtype", "cat.default", "stack.default"),
        *("mT.default", "narrow.default", "squeeze.default", "squeeze.dims", "swapaxes.default"),
        *("unfold.default", "split_with_sizes.default", "roll.default", "avg_pool2d.default"),
        *("zeros_like.default", "ones_like.default", "constant_pad_nd.default"),
    )
)
_LARGER, _SMALLER = ("maximum.default", "max.other"), ("minimum.default", "min.other")

#: Affine in one operand, the others being constant: what must not vary together.
_BILINEAR: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "mul.Tensor": ("self", "other"),
        "mul.Scalar": ("self", "other"),
        "div.Tensor": ("other",),
        "div.Scalar": ("other",),
        "mm.default": ("self", "mat2"),
        "bmm.default": ("self", "mat2"),
        "matmul.default": ("self", "other"),
        "linear.default": ("input", "weight"),
        "addmm.default": ("mat1", "mat2"),
        "conv1d.default": ("weight",),
        "conv2d.default": ("weight",),
    }
)


def record(graph: Graph) -> Tape | None:
    """The tape of a graph, or None where an operator does not fit, or it is too large."""
    if sum(math.prod(each.shape) for each in graph.inputs) > MAX_INPUTS:
        return None
    recorder = _Recorder(graph)
    try:
        return recorder.tape()
    except (_DoesNotFit, Declined, CertifierError):
        return None


class _DoesNotFit(Exception):
    """The graph is none of those that tapes are made of."""


class _Recorder:
    """Walks the graph with what each value is as an affine map of atoms.

    Such a map is an `Abstraction` of one box: its value is the offset, its Jacobians are matrices.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._known: dict[str, Any] = {
            name: constant(each.value) for name, each in graph.constants.items()
        }
        self._steps: list[Step] = []
        self._inputs = sum(math.prod(each.shape) for each in graph.inputs)
        start = 0
        for each in graph.inputs:
            size = math.prod(each.shape)
            rows = torch.zeros(1, self._inputs, size, dtype=torch.float64)
            rows[0, start : start + size] = torch.eye(size, dtype=torch.float64)
            self._known[each.name] = _atom(0, Interval.exact(rows), each.shape)
            start += size

    def tape(self) -> Tape:
        for node in self._graph.nodes:
            self._known[node.name] = self._result(node)
        output = self._known[self._graph.output]
        return Tape(self._inputs, tuple(self._steps), self._affine(output))

    def _result(self, node: Node) -> Any:
        operator = node.operator.removeprefix("aten.")
        varying = {name for name, value in node.arguments.items() if self._varies(value)}
        together = set(_BILINEAR.get(operator, ()))
        is_affine = node.operator in _AFFINE or node.operator == "python.getitem"
        if (
            not varying
            or is_affine
            or (operator in _BILINEAR and self._may_be_affine(operator, varying, together))
        ):
            return self._checked(apply(node, self._known))
        return self._nonlinear(node, operator)

    @staticmethod
    def _may_be_affine(operator: str, varying: set[str], together: set[str]) -> bool:
        alone = len(together) == 1
        return not varying & together if alone else len(varying & together) <= 1

    def _nonlinear(self, node: Node, operator: str) -> Abstraction:
        if node.operator == EDGES:
            return self._edges(node)
        if operator == "mul.Tensor" and node.arguments["self"] == node.arguments["other"]:
            return self._append(Apply(find("square"), self._spread(node, "self")), node.shape)
        if operator == "mul.Tensor":
            left, right = (self._spread(node, name) for name in ("self", "other"))
            return self._append(Multiply(left, right), node.shape)
        if operator == "div.Tensor":
            inverse = Apply(find("reciprocal"), self._spread(node, "other"))
            inverted = self._append(inverse, node.shape)
            left = self._spread(node, "self")
            return self._append(Multiply(left, self._affine(inverted)), node.shape)
        if operator in _LARGER or operator in _SMALLER:
            return self._larger_or_smaller(node, 1.0 if operator in _LARGER else -1.0)
        if node.operator not in FUNCTIONS:
            raise _DoesNotFit
        parameters = {name: value for name, value in node.arguments.items() if name != "self"}
        function = FUNCTIONS[node.operator](**parameters)
        return self._append(Apply(function, self._spread(node, "self")), node.shape)

    def _larger_or_smaller(self, node: Node, sign: float) -> Abstraction:
        """max(x, y) = y + max(x - y, 0), and min(x, y) = y - max(y - x, 0)."""
        x, y = (self._known[_name(node.arguments[name])] for name in ("self", "other"))
        difference = _broadcast(multiply(subtract(x, y, 1.0), sign), node.shape)
        excess = self._append(Apply(find("relu"), self._affine(difference)), node.shape)
        return add(y, multiply(excess, sign), 1.0)

    def _edges(self, node: Node) -> Abstraction:
        names = ("knots", "coefficients", "base")
        knots, coefficients, base = (self._known[_name(node.arguments[name])] for name in names)
        degree = node.arguments["degree"]
        if not isinstance(degree, int) or any(
            map(self._varies, (node.arguments[n] for n in names))
        ):
            raise _DoesNotFit
        functions = edge_functions(knots, coefficients, base, degree)
        x = self._known[_name(node.arguments["x"])]
        column = _moved(x, lambda ends: ends.unsqueeze(-1).expand(*ends.shape, node.shape[-1]))
        of_edges = Apply(FlatEdges(functions, node.shape), self._affine(column))
        return self._append(of_edges, node.shape)

    def _append(self, step: Step, shape: tuple[int, ...]) -> Abstraction:
        self._steps.append(step)
        size = math.prod(shape)
        self._require_small(size, size)
        identity = torch.eye(size, dtype=torch.float64).unsqueeze(0)
        return _atom(len(self._steps), Interval.exact(identity), shape)

    def _spread(self, node: Node, name: str) -> Affine:
        """An operand in the shape of the node."""
        operand = node.arguments[name]
        if isinstance(operand, Ref):
            known = self._known[operand.name]
        elif isinstance(operand, int | float):
            known = constant(Interval.exact(operand))
        else:
            raise _DoesNotFit
        return self._affine(_broadcast(known, node.shape))

    def _affine(self, form: Abstraction) -> Affine:
        sources, terms = [], 1
        for name, block in sorted(form.jacobian.items(), key=lambda item: int(item[0])):
            matrix = block.rearranged(
                lambda ends: ends[0].reshape(ends.shape[1], -1).mT.contiguous()
            )
            center, radius = matrix.midpoint_radius()
            errors = None if not bool((radius > 0).any()) else radius
            if not bool((matrix.magnitude <= _LARGEST_ENTRY).all()):
                raise _DoesNotFit
            sources.append(Source(int(name), center, center.abs(), errors))
            terms += center.shape[1] + 1
        offset = form.value.rearranged(lambda ends: ends[0].flatten())
        if not bool((offset.magnitude <= _LARGEST_ENTRY).all()):
            raise _DoesNotFit
        return Affine(tuple(sources), offset, terms)

    def _checked(self, result: Any) -> Any:
        if isinstance(result, Abstraction):
            size = math.prod(result.shape)
            for block in result.jacobian.values():
                self._require_small(block.shape[1], size)
        return result

    def _varies(self, argument: Any) -> bool:
        if isinstance(argument, tuple):
            return any(map(self._varies, argument))
        known = self._known.get(argument.name) if isinstance(argument, Ref) else None
        if isinstance(known, tuple):
            return any(bool(each.jacobian) for each in known)
        return isinstance(known, Abstraction) and bool(known.jacobian)

    def _require_small(self, rows: int, columns: int) -> None:
        if rows * columns > _MAX_MATRIX:
            raise _DoesNotFit


def _atom(number: int, rows: Interval, shape: tuple[int, ...]) -> Abstraction:
    """An atom itself: no offset, and (1, entries, *shape) as its matrix."""
    offset = Interval.exact(torch.zeros(1, *shape, dtype=torch.float64))
    matrix = rows.rearranged(lambda ends: ends.reshape(1, -1, *shape))
    return Abstraction(offset, MappingProxyType({str(number): matrix}))


def _broadcast(form: Abstraction, shape: tuple[int, ...]) -> Abstraction:
    missing = (1,) * (len(shape) - len(form.shape))

    def spread(ends: Tensor, leading: int) -> Tensor:
        padded = ends.reshape(*ends.shape[:leading], *missing, *ends.shape[leading:])
        return padded.expand(*ends.shape[:leading], *shape)

    blocks = {
        name: block.rearranged(lambda ends: spread(ends, 2))
        for name, block in form.jacobian.items()
    }
    value = form.value.rearranged(lambda ends: spread(ends, 1))
    return Abstraction(value, MappingProxyType(blocks))


def _moved(form: Abstraction, move: Any) -> Abstraction:
    blocks = {name: block.rearranged(move) for name, block in form.jacobian.items()}
    return Abstraction(form.value.rearranged(move), MappingProxyType(blocks))


def _name(argument: Any) -> str:
    if not isinstance(argument, Ref):
        raise _DoesNotFit
    return argument.name

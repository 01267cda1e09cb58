"""The layers of a graph, by its own rules.

A rule promises of its operator: differences of results are differences of operands times matrices
within the Jacobians that it gives (see `rules.abstraction`). So at each nonlinearity the walk
begins anew, with its value as a further input of which nothing is known but where it lies. The
Jacobians at its argument are then the fused affine run from every earlier source, with all
roundings, whatever operators the run was made of. Of operators that are neither affine nor
functions of one number, such as products of two values that vary, Jacobians are intervals as wide
as the values allow; they are part of the maps like any other.

Where all that follows depends on one node alone, and that on several sources, as after a residual
block, the node becomes a source itself: what follows then has one map from it instead of one from
each block before.
"""

import math
from collections.abc import Mapping

from certisolve_server.certifier.arithmetic import Interval
from certisolve_server.certifier.chains import Folding, Slopes
from certisolve_server.certifier.graph.node import Graph, Node
from certisolve_server.certifier.graph.runs import largest_run
from certisolve_server.certifier.interpreter import apply
from certisolve_server.certifier.rules import Abstraction, constant
from certisolve_server.certifier.rules.pointwise import FUNCTIONS

from .assemble import Stage, assemble
from .cuts import cuts
from .exact import exact_layer
from .folds import Fold, fold_of
from .known import Known, require_elements
from .layered import Layered
from .slopes import slopes_of


def fuse(graph: Graph, values: Mapping[str, Interval] | None = None) -> Layered:
    """The layers of a graph on a set.

    Args:
        graph: from `prepare`.
        values: of each input and of any nodes, on the set: (1, *shape). None: on everything.

    Raises:
        NotCertified: slopes are unbounded on the set.
        TooLarge: so are matrices.
        UnsupportedOperator: a rule does not hold for some arguments.
    """
    require_elements(largest_run(graph, FUNCTIONS))
    walk = _Walk(graph, values or {})
    for node in graph.nodes:
        walk.advance(node)
    return assemble(graph, walk.stages, walk.known[graph.output])


class _Walk:
    """What is known of each node, in terms of the inputs and of the nonlinearities so far."""

    def __init__(self, graph: Graph, values: Mapping[str, Interval]) -> None:
        self._values = values
        self._cuts = cuts(graph)
        self.stages: list[Stage] = []
        self.known = Known()
        for name, known in graph.constants.items():
            self.known[name] = constant(known.value)
        for each in graph.inputs:
            value = values.get(each.name, Interval.entire((1, *each.shape)))
            self.known.begin(each.name, value)

    def advance(self, node: Node) -> None:
        """One node further."""
        if self.known.reshaped(node):
            return
        fold = fold_of(node, self.known)
        if fold is not None:
            self.known[node.name] = fold.result(self._folded(fold))
        elif node.operator in FUNCTIONS and self.known[node.refs[0].name].jacobian:
            self._function(node, self.known[node.refs[0].name])
        else:
            self._affine(node)

    def _affine(self, node: Node) -> None:
        result = exact_layer(node, self.known) or apply(node, self.known)
        if not isinstance(result, Abstraction):
            self.known[node.name] = result
            return
        value = self._sharpened(node.name, result.value)
        for block in result.jacobian.values():
            require_elements(block.lower.numel())
        if node.name in self._cuts and self._is_after_function(result):
            self._begin(node.name, result, None, value)
        else:
            self.known[node.name] = Abstraction(value, result.jacobian)

    def _is_after_function(self, x: Abstraction) -> bool:
        """Whether it depends on several sources, not all of them inputs."""
        return len(x.jacobian) > 1 and any(stage.name in x.jacobian for stage in self.stages)

    def _function(self, node: Node, operand: Abstraction) -> None:
        value = apply(node, {node.refs[0].name: Abstraction(operand.value)}).value
        slopes = slopes_of(node, operand.value)
        self._begin(node.name, operand, slopes, self._sharpened(node.name, value))

    def _folded(self, fold: Fold) -> Abstraction:
        if fold.name not in self.known.bare:
            folding = Folding.group_sort(math.prod(fold.operand.shape), fold.operand.shape[-1])
            self._begin(fold.name, fold.operand, folding, fold.value)
        source: Abstraction = self.known[fold.name]
        return source

    def _begin(
        self, name: str, operand: Abstraction, function: Slopes | Folding | None, value: Interval
    ) -> None:
        """A new source: the value of a nonlinearity."""
        self.stages.append(Stage(name, operand.jacobian, function, operand.shape))
        self.known.begin(name, value)

    def _sharpened(self, name: str, value: Interval) -> Interval:
        return value.intersection(self._values[name]) if name in self._values else value

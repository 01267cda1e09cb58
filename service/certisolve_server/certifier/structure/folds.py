"""Which nodes sort groups of numbers: MaxMin, GroupSort, and the largest and smallest alone.

Sorting folds space (see `chains.Folding`): no difference grows in any norm, and sums are kept. The
largest and the smallest of a group are entries of the sorted group; those that are taken of the
same group share one fold, which is why MaxMin, exported as a maximum beside a minimum, is known as
what it is.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch

from certisolve_server.certifier.arithmetic import Interval
from certisolve_server.certifier.graph.node import Node
from certisolve_server.certifier.rules import Abstraction, Declined
from certisolve_server.certifier.rules.pooling import AXES, windows
from certisolve_server.certifier.rules.shapes import move, stacked

#: From sorted groups along the last axis, largest first, to the result of a node.
Result: TypeAlias = Callable[[Abstraction], Any]

_LARGEST = frozenset({"aten.maximum.default", "aten.max.other"})
_SMALLEST = frozenset({"aten.minimum.default", "aten.min.other"})
_ALONG_AXIS = {"aten.amax.default": 0, "aten.amin.default": -1}
_WITH_PLACE = {"aten.max.dim": 0, "aten.min.dim": -1}


@dataclass(frozen=True, eq=False)
class Fold:
    """Groups that are sorted.

    Args:
        name: of the fold, the same for all nodes that take something from it.
        operand: the groups along the last axis.
        result: what the node takes of the sorted groups.
    """

    name: str
    operand: Abstraction
    result: Result

    @property
    def value(self) -> Interval:
        """Where the sorted groups lie: the i-th largest of upper ends is above the i-th largest."""
        value = self.operand.value
        ends = (torch.sort(end, -1, descending=True).values for end in (value.lower, value.upper))
        return Interval(*ends)


def fold_of(node: Node, known: Mapping[str, Any]) -> Fold | None:
    """The fold of a node, None where it is none of values that vary."""
    if node.operator in _LARGEST | _SMALLEST:
        return _pair(node, known)
    if node.operator in _ALONG_AXIS:
        axes = node.arguments["dim"]
        axis = axes[0] if isinstance(axes, tuple) and len(axes) == 1 else axes
        take = _taken(node, _ALONG_AXIS[node.operator], axis)
        return _group(node, known, axis, take)
    if node.operator in _WITH_PLACE:
        axis = node.arguments["dim"]
        take = _taken(node, _WITH_PLACE[node.operator], axis)
        return _group(node, known, axis, lambda source: (take(source),))
    if node.operator in AXES:
        return _windows(node, known)
    if node.operator == "aten.sort.default":
        return _group(node, known, node.arguments["dim"], lambda source: (_sorted(node, source),))
    return None


def _pair(node: Node, known: Mapping[str, Any]) -> Fold | None:
    names = sorted(ref.name for ref in node.refs)
    if len(names) != 2:
        return None
    pair = [known[name] for name in names]
    if not all(each.jacobian for each in pair) or pair[0].shape != pair[1].shape:
        return None
    operand = stacked(pair, -1)
    index = 0 if node.operator in _LARGEST else 1
    return Fold(f"sorted {names}", operand, lambda source: _select(source, index))


def _group(node: Node, known: Mapping[str, Any], axis: object, result: Result) -> Fold | None:
    x = known[node.refs[0].name]
    if not isinstance(axis, int) or not x.jacobian or not x.shape:
        return None
    axis %= len(x.shape)
    return Fold(
        f"sorted {node.refs[0].name} {axis}",
        move(x, lambda entries: entries.movedim(axis, -1)),
        result,
    )


def _windows(node: Node, known: Mapping[str, Any]) -> Fold | None:
    x = known[node.refs[0].name]
    if not x.jacobian:
        return None
    settings: dict[str, Any] = {
        name: value for name, value in node.arguments.items() if name != "self"
    }
    try:
        operand = windows(x, AXES[node.operator], **settings)
    except Declined:
        return None
    return Fold(f"sorted windows {node.name}", operand, lambda source: _select(source, 0))


def _taken(node: Node, index: int, axis: object) -> Result:
    """One entry of each group, the axis kept with size 1 or dropped."""

    def take(source: Abstraction) -> Abstraction:
        entry = _select(source, index)
        if not node.arguments["keepdim"]:
            return entry
        dim = axis % len(source.shape) if isinstance(axis, int) else -1
        return move(entry, lambda entries: entries.unsqueeze(dim))

    return take


def _sorted(node: Node, source: Abstraction) -> Abstraction:
    if not node.arguments["descending"]:
        source = move(source, lambda entries: entries.flip(-1))
    axis = node.arguments["dim"]
    return move(source, lambda entries: entries.movedim(-1, axis if isinstance(axis, int) else -1))


def _select(x: Abstraction, index: int) -> Abstraction:
    return move(x, lambda entries: entries[..., index])

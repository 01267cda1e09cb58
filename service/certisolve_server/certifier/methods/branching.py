"""M4: the region cut where arguments of nonlinearities cross kinks, or the middle of what they do.

Best first, many parts at a time, each bounded by the sweeps of `linear.enclosure` with relaxations
that fit it. What proves the bound is the tree of cuts alone, and of parts without points what
proves that they are empty.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from certisolve_server.certifier.errors import NotCertified
from certisolve_server.certifier.linear.evaluation import MARGIN, Task, evaluate, task_of
from certisolve_server.certifier.linear.parts import Cut, Multiplier, Part
from certisolve_server.certifier.linear.sight import Sight
from certisolve_server.certifier.linear.tree import Tree, leaves
from certisolve_server.certifier.problem import Problem
from certisolve_server.certifier.witness import Witness

from .method import Board, Bound, Evidence

#: Parts that are cut at a time: at first, at least and at most.
_BATCH, _LEAST, _MOST = 4, 1, 128
_SLICE_S = 0.1

#: Parts that are evaluated at a time when a bound is checked.
_CHECKED_AT_A_TIME = 128

#: Bounds are given when they are smaller than the last one by this share, and at the end.
_NOTABLE = 1e-3


class Branching:
    """Branch and bound over neurons."""

    name = "branching"

    def run(self, problem: Problem, board: Board) -> Iterator[Bound | Witness | None]:
        """Until no cut helps any more, or the bound is attained."""
        task = task_of(problem)
        yield None
        tree, batch, last, sight = Tree(task), _BATCH, float("inf"), Sight(problem, task)
        while True:
            is_over = tree.is_over or tree.upper <= board.lower
            upper = tree.upper * MARGIN
            if upper < last * (1.0 - _NOTABLE) or (is_over and upper < last):
                last = upper
                yield Bound(upper, _evidence(tree, upper))
            else:
                yield None
            point = tree.steepest()
            if point is not None:
                yield sight.witness(point, board.lower)
            if is_over:
                return
            before = board.left_s()
            tree.advance(batch, board.lower)
            batch = _next_batch(batch, before - board.left_s())

    def recheck(self, problem: Problem, evidence: Evidence) -> float:
        """The largest bound of all parts of the trees."""
        task = task_of(problem)
        objective = task.objective
        rows = range(objective.outputs) if objective.is_per_row else [-1]
        trees = evidence.get("trees")
        if not isinstance(trees, list) or len(trees) != len(rows):
            raise NotCertified("there is not one tree for each row")
        parts = [
            part for row, cuts in zip(rows, trees, strict=True) for part in _parts(task, row, cuts)
        ]
        upper, step = 0.0, 1 + (_CHECKED_AT_A_TIME - 1) * len(rows) // objective.outputs
        for start in range(0, len(parts), step):
            found = evaluate(task, parts[start : start + step]).bounds
            # False of NaN.
            if not all(bound < float("inf") for bound in found):
                raise NotCertified("a part has no finite bound")
            upper = max(upper, *found)
        return upper


def _next_batch(batch: int, spent_s: float) -> int:
    """Twice as many, or half, as a slice allows; of no clock as many as there were."""
    if 0.0 < spent_s < 0.5 * _SLICE_S:
        return min(2 * batch, _MOST)
    return max(batch // 2, _LEAST) if spent_s > _SLICE_S else batch


def _evidence(tree: Tree, upper: float) -> dict[str, Any]:
    return {"trees": [_entries(root, upper) for root in tree.roots]}


def _entries(root: Part, upper: float) -> list[Any]:
    """In preorder, the part below a cut first: layer, neuron and place of cuts; see `_leaf`."""
    kept = {id(leaf) for leaf in leaves(root, upper)}
    entries: list[Any] = []
    waiting = [root]
    while waiting:
        part = waiting.pop()
        if id(part) in kept or part.cut is None:
            entries.append(_leaf(part))
        else:
            entries.append([part.cut.layer, part.cut.neuron, part.cut.place])
            waiting.extend(reversed(part.children))
    return entries


def _leaf(part: Part) -> dict[str, Any] | None:
    """What proves it empty: each factor with how many cuts its own was made before; or None."""
    if part.bound > 0.0 or not part.multipliers:
        return None
    age = {side: number for number, side in enumerate(part.cuts())}
    return {"empty": [[age[side], factor] for side, factor in part.multipliers]}


def _parts(task: Task, row: int, entries: object) -> list[Part]:
    """The leaves of a tree in preorder."""
    if not isinstance(entries, Sequence) or isinstance(entries, str):
        raise NotCertified("a tree is a list of cuts")
    found, waiting = [], [Part(row)]
    for entry in entries:
        if not waiting:
            raise NotCertified("a tree has too many cuts")
        part = waiting.pop()
        if entry is None or isinstance(entry, Mapping):
            part.multipliers = _multipliers(part, entry or {})
            found.append(part)
        else:
            waiting.extend(reversed(part.split(_cut(task, entry))))
    if waiting:
        raise NotCertified("a tree has parts that are neither cut nor bounded")
    return found


def _multipliers(part: Part, entry: Mapping[str, Any]) -> tuple[Multiplier, ...]:
    sides = list(part.cuts())
    found = []
    for pair in entry.get("empty", ()):
        match pair:
            case [int(age), float(factor) | int(factor)] if 0 <= age < len(sides):
                found.append((sides[age], float(factor)))
            case _:
                raise NotCertified(f"{pair} is no multiplier of a cut")
    return tuple(found)


def _cut(task: Task, numbers: object) -> Cut:
    """A cut of a neuron that there is, at a finite place."""
    match numbers:
        case [int(layer), int(neuron), float(place) | int(place)]:
            is_layer = 1 <= layer <= task.network.depth
            is_neuron = is_layer and 0 <= neuron < task.network.layers[layer - 1].neurons
            if is_neuron and abs(place) < float("inf"):
                return Cut(layer, neuron, float(place))
    raise NotCertified(f"{numbers} is no cut of the network")

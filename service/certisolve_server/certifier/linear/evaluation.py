"""The bound on each of many parts, and where it is best to cut them."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from certisolve_server.certifier.arithmetic.rounding import product_up
from certisolve_server.certifier.errors import NotCertified
from certisolve_server.certifier.problem import Problem

from .cuts import best_cuts
from .emptiness import are_empty, look_inside
from .enclosure import Enclosure, enclose
from .inputs import Inputs, inputs_of
from .network import Network
from .objective import Objective
from .parts import Cut, Part, clips
from .reading import read
from .slopes import Slopes

# What is claimed beyond what was proven here: another machine sums in another order, and is to come
# to a bound that is not above the one that it rechecks.
MARGIN = 1.0 + 2.0**-30


@dataclass(frozen=True, eq=False)
class Task:
    """A network on a region, and which norm of its Jacobian is bounded."""

    network: Network
    inputs: Inputs
    objective: Objective


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Of each part a proven bound, and the cut that promises most, None where none helps."""

    bounds: list[float]
    cuts: list[Cut | None]


def task_of(problem: Problem) -> Task:
    """What a problem asks for.

    Raises:
        UnsupportedOperator: its graph is no network of affine maps and functions of one number.
        NotCertified: it is a flow or of an unbounded region, or a matrix is too large.
    """
    graph = problem.require_map()
    problem.require_boxes()
    network = read(graph)
    objective = Objective(problem.norms, network.inputs, network.output.rows)
    return Task(network, inputs_of(problem), objective)


def total_of(task: Task, enclosure: Enclosure, slopes: Slopes | None) -> float:
    """The bound on the region, from an enclosure of it for all rows.

    Raises:
        NotCertified: it is not finite.
    """
    objective = task.objective
    through = enclosure.relaxation if slopes is None else slopes.relaxation(enclosure)
    rows = objective.rows(enclosure, through)
    if objective.is_per_row:
        upper = float(product_up(rows, objective.row_weights).amax())
    else:
        upper = float(objective.total(enclosure, rows))
    if not upper < float("inf"):
        raise NotCertified("there is no finite linear bound")
    return upper


def evaluate(task: Task, parts: Sequence[Part]) -> Evaluation:
    """Bounds of parts, by sweeps with the relaxations that fit each.

    Raises:
        NotCertified: ranges are unbounded.
    """
    objective = task.objective
    repeats = 1 if objective.is_per_row else objective.outputs
    repeated = [part for part in parts for _ in range(repeats)]
    clipped = clips(task.network, repeated)
    enclosure = enclose(task.network, task.inputs, _seeds(objective, parts), clipped)
    rows = objective.rows(enclosure)
    if objective.is_per_row:
        bounds = product_up(rows, objective.row_weights[[part.row for part in parts]])
    else:
        bounds = objective.total(enclosure, rows)
    is_empty = enclosure.is_empty
    if any(part.multipliers for part in parts):
        is_empty = is_empty | are_empty(enclosure, parts, repeats)
    # A part is the same with whichever row it is looked at.
    is_empty = is_empty.reshape(-1, repeats).any(1)
    proven = torch.where(is_empty, 0.0, bounds)
    return Evaluation(proven.tolist(), best_cuts(enclosure, objective, clipped, repeats))


def look(task: Task, parts: Sequence[Part]) -> None:
    """See `look_inside`."""
    seeds = task.objective.seeds[:1].expand(len(parts), -1)
    enclosure = enclose(task.network, task.inputs, seeds, clips(task.network, parts))
    look_inside(enclosure, parts)


def _seeds(objective: Objective, parts: Sequence[Part]) -> Tensor:
    """A unit vector for each part, or all of them for each."""
    if objective.is_per_row:
        return objective.seeds[[part.row for part in parts]]
    return objective.seeds.repeat(len(parts), 1)

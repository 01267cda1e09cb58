"""M3: linear bounds of values and derivatives on the whole region, with slopes that fit it.

The enclosures of `linear.enclosure`, from which a sweep per row of the Jacobian bounds its norm;
then the slopes of that sweep are improved, for lines and planes at once.
"""

from collections.abc import Iterator

from certisolve_server.certifier.errors import NotCertified
from certisolve_server.certifier.linear.enclosure import Enclosure, enclose, unclipped
from certisolve_server.certifier.linear.evaluation import MARGIN, Task, task_of, total_of
from certisolve_server.certifier.linear.optimise import improved_slopes
from certisolve_server.certifier.linear.slopes import Slopes, decoded
from certisolve_server.certifier.problem import Problem

from .method import Board, Bound, Evidence

#: Steps of a search, and how many of them pass between two proofs.
STEPS = 120
STEPS_PER_PROOF = 10


class Linear:
    """CROWN over a network and its chain rule, of alpha-CROWN's kind in both."""

    name = "linear"

    def run(self, problem: Problem, board: Board) -> Iterator[Bound | None]:
        """First without a search, then with ever better slopes."""
        del board
        task = task_of(problem)
        yield None
        enclosure = _enclosed(task)
        best = total_of(task, enclosure, None)
        yield Bound(best * MARGIN, {})
        if not task.objective.is_swept or task.network.depth == 0:
            return
        for number, slopes in enumerate(improved_slopes(enclosure, task.objective, STEPS), 1):
            if number % STEPS_PER_PROOF:
                continue
            kept = slopes.rounded()
            upper = total_of(task, enclosure, kept)
            if upper < best:
                best = upper
                yield Bound(best * MARGIN, {"slopes": kept.encoded()})
            else:
                yield None

    def recheck(self, problem: Problem, evidence: Evidence) -> float:
        """One sweep per row, with the slopes that are given."""
        task = task_of(problem)
        enclosure = _enclosed(task)
        slopes: Slopes | None = None
        if "slopes" in evidence:
            slopes = decoded(evidence["slopes"], enclosure)
        return total_of(task, enclosure, slopes)


def _enclosed(task: Task) -> Enclosure:
    clips = unclipped(task.network, task.objective.outputs)
    enclosure = enclose(task.network, task.inputs, task.objective.seeds, clips)
    if bool(enclosure.is_empty.any()):
        raise NotCertified("two enclosures of one value have nothing in common")
    return enclosure

"""Points inside of the worst parts, told as witnesses: how much the map changes there."""

from torch import Tensor

from certisolve_server.certifier.arithmetic import Interval
from certisolve_server.certifier.errors import NotCertified, UnsupportedOperator
from certisolve_server.certifier.falsify.proof import Prover
from certisolve_server.certifier.falsify.space import unflat
from certisolve_server.certifier.methods.sighting import steepest
from certisolve_server.certifier.problem import Problem
from certisolve_server.certifier.witness import Witness

from .enclosure import enclose, unclipped
from .evaluation import Task
from .inputs import Inputs

#: What is seen has to be that much more than what is proven.
_WORTHWHILE = 1.0 + 1e-6

#: Of the width of the box: how far a point is moved off its sides, and how far a direction goes.
_OFF, _STEP = 1e-9, 1e-10


class Sight:
    """Of one problem, whose region is a box or in one."""

    def __init__(self, problem: Problem, task: Task) -> None:
        self._problem, self._task, self._prover = problem, task, Prover(problem)

    def witness(self, point: Tensor, lower: float) -> Witness | None:
        """The witness of a point, if it proves more than `lower`.

        Args:
            point: (inputs,), in the box.
            lower: what is proven.
        """
        graph, box = self._problem.graph, self._task.inputs.box
        width = box.upper - box.lower
        if not bool((width > 0).all()):
            return None
        inside = point + 2.0 * _OFF * (box.lower + 0.5 * width - point)
        direction, size = steepest(self._jacobian(inside), self._problem.norms)
        if not size > _WORTHWHILE * lower:
            return None
        step = _STEP * float(width.amin()) * direction / direction.abs().amax()
        try:
            return self._prover.witness("direction", unflat(graph, inside), unflat(graph, step))
        except (NotCertified, UnsupportedOperator):
            return None

    def _jacobian(self, point: Tensor) -> Tensor:
        """(outputs, inputs), nearly."""
        network, seeds = self._task.network, self._task.objective.seeds
        at = Inputs(Interval.exact(point))
        ends = enclose(network, at, seeds, unclipped(network, len(seeds))).a[0]
        return 0.5 * (ends.lower + ends.upper)

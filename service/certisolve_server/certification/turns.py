"""Methods that take no more of a search than their turn."""

from collections.abc import Iterator

from certisolve_server.certifier.methods.method import Board, Bound, Evidence, Method
from certisolve_server.certifier.problem import Problem
from certisolve_server.certifier.witness import Witness

from .interruption import Limits, OutOfTime

#: Of the budget, what a first turn may take, and at least so many seconds.
_SHARE, _LEAST_S = 0.125, 1.0


class InTurns:
    """A method whose turns end in time: one that took too long begins anew, with twice as much.

    So methods that prove something soon are not kept waiting by those that need long for a first
    step, and of the time that is there at most half is lost to beginnings.

    Arguments:
        method: that is run.
        limits: of the search.
        budget_s: of the search.
    """

    def __init__(self, method: Method, limits: Limits, budget_s: float) -> None:
        self._method = method
        self._limits = limits
        self._first_s = max(_LEAST_S, _SHARE * budget_s)

    @property
    def name(self) -> str:
        """As in certificates."""
        return self._method.name

    def run(self, problem: Problem, board: Board) -> Iterator[Bound | Witness | None]:
        """As the method, in turns."""
        turn_s, steps = self._first_s, self._method.run(problem, board)
        while True:
            found: Bound | Witness | None = None
            try:
                with self._limits.hold(turn_s) as turn:
                    found = next(steps)
            except StopIteration:
                return
            except OutOfTime as over:
                if over.limit is not turn:
                    raise
                turn_s, steps = 2.0 * turn_s, self._method.run(problem, board)
            yield found

    def recheck(self, problem: Problem, evidence: Evidence) -> float:
        """As the method."""
        return self._method.recheck(problem, evidence)

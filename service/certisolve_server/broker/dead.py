"""Jobs that were put aside by the memory broker."""

from collections.abc import Sequence
from typing import NamedTuple

from certisolve_server.jobs import SolveJob

from .base import DeadLetter

# The oldest go first beyond this.
_MAX_DEAD = 1000


class Dead(NamedTuple):
    """A job that was put aside, and its last token."""

    letter: DeadLetter
    job: SolveJob
    token: int


class DeadLetters:
    """Jobs that were put aside, oldest first."""

    def __init__(self) -> None:
        self._dead: dict[str, Dead] = {}

    def put(self, dead: Dead) -> None:
        """Put a job aside."""
        if len(self._dead) >= _MAX_DEAD:
            del self._dead[next(iter(self._dead))]
        self._dead[dead.job.id] = dead

    def take(self, job_id: str) -> Dead | None:
        """A job, put aside no longer; None if there is none of that id."""
        return self._dead.pop(job_id, None)

    def letters(self) -> Sequence[DeadLetter]:
        """What is known of all."""
        return [dead.letter for dead in self._dead.values()]

    def purge(self, job_id: str | None) -> int:
        """Forget one, or all; how many."""
        if job_id is not None:
            return 0 if self.take(job_id) is None else 1
        num_dead = len(self._dead)
        self._dead.clear()
        return num_dead

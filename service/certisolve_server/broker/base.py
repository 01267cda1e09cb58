"""The contract of a broker; the same cases in tests/contract run over every implementation."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

from certisolve_server.errors import ServingError
from certisolve_server.jobs import JobState, Outcome, SolveJob


class Depth(NamedTuple):
    """Work that is waiting or running, and the bytes of its inputs."""

    num_jobs: int
    num_bytes: int


class AbstractBroker(ABC):
    """Hands jobs to workers and answers back; every accepted job ends exactly once."""

    @abstractmethod
    async def submit(self, job: SolveJob, *, keep_result: bool) -> None:
        """Accept a job.

        Args:
            job: a new id.
            keep_result: True keeps the answer for its time to live, to be read by `state`; False
                forgets it once `result` has returned.
        """

    @abstractmethod
    async def claim(self, max_jobs: int) -> Sequence[SolveJob]:
        """Up to `max_jobs` queued jobs, oldest first; waits until there is at least one."""

    @abstractmethod
    async def start(self, job_ids: Sequence[str]) -> Sequence[str]:
        """Mark claimed jobs as running; returns those that are still wanted, in order."""

    @abstractmethod
    async def complete(self, job_id: str, outcome: Outcome) -> None:
        """End a claimed job with an answer; without effect if it ended before."""

    @abstractmethod
    async def fail(self, job_id: str, error: ServingError) -> None:
        """End a claimed job with an error; without effect if it ended before."""

    @abstractmethod
    async def cancel(self, job_id: str) -> JobState:
        """End a job unanswered, unless it ended before; its state afterwards.

        Raises:
            UnknownJob: never accepted, or forgotten.
        """

    @abstractmethod
    async def result(self, job_id: str) -> Outcome:
        """The answer, as soon as there is one.

        Raises:
            ServingError: the error the job ended with.
            UnknownJob: never accepted, or forgotten.
        """

    @abstractmethod
    async def state(self, job_id: str, *, wait_s: float = 0.0) -> JobState:
        """Where a job stands, after waiting up to `wait_s` seconds for it to end.

        Raises:
            UnknownJob: never accepted, or forgotten.
        """

    @abstractmethod
    def depth(self) -> Depth:
        """Work that is waiting or running now."""

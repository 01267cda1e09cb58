"""A claimed job on its way through the worker."""

from typing import NamedTuple

from certisolve_server.broker import Claim
from certisolve_server.errors import DeadlineExceeded, InternalError, ServingError
from certisolve_server.jobs import SolveJob, Timeline

from .placement import Alone, Place
from .source import Source


class Held(NamedTuple):
    """A claimed job, whose it is, and since when.

    Attributes:
        source: told how it ends.
        claim: names it to the source.
        claimed_at: Unix seconds.
    """

    source: Source
    claim: Claim
    claimed_at: float

    @property
    def job(self) -> SolveJob:
        """What is asked."""
        return self.claim.job

    @property
    def place(self) -> Place:
        """With whom it may share the device: a suspect with nobody."""
        return Alone(self.job.lane, self.job.id) if self.claim.suspect else self.job.lane

    def fail(self, error: Exception) -> None:
        """Report an error soon."""
        self.source.fail(self.claim, _as_serving_error(self.job, error))

    def expire(self, now: float, started_at: float | None = None) -> None:
        """Report that its deadline has passed, and where the time went."""
        spent = Timeline(self.job.submitted_at, self.claimed_at, started_at).account(now)
        self.fail(DeadlineExceeded(f"the deadline passed: {spent}"))


def _as_serving_error(job: SolveJob, error: Exception) -> ServingError:
    if isinstance(error, ServingError):
        return error
    return InternalError(f"the model failed on this request; the log has the cause under {job.id}")

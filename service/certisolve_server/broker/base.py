"""The contract of a broker; the same cases in tests/contract run over every implementation."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import NamedTuple, Self

from certisolve_server.errors import QueueFull, ServingError
from certisolve_server.jobs import JobState, Lane, ModelKey, Outcome, SolveJob


class Depth(NamedTuple):
    """Work that is waiting or running.

    Attributes:
        num_bytes: of its inputs and of the frames it asks for.
        expected_s: seconds until all of it is done, from how long such jobs took.
    """

    num_jobs: int
    num_bytes: int
    expected_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a queue holds at most; beyond it `submit` refuses, and nothing accepted is dropped.

    Attributes:
        max_jobs: waiting or running.
        max_bytes: of their inputs and of the frames they ask for.
        max_result_bytes: of kept results; beyond it no job whose result is to be kept is taken.
        result_ttl_s: seconds a kept result, or the end of a job, can be read.
        lease_s: seconds after which a claimed job whose worker gave no sign goes to another.
        max_deliveries: times a job may be running when its worker dies, before it is put aside.
    """

    max_jobs: int = 4096
    max_bytes: int = 2 << 30
    max_result_bytes: int = 1 << 30
    result_ttl_s: float = 600.0
    lease_s: float = 15.0
    max_deliveries: int = 5


@dataclass(frozen=True, slots=True)
class Capacity:
    """How many jobs a worker can put into one batch now.

    Attributes:
        models: by model; a model that is not named is not claimed.
        lanes: exceptions, by lane.
    """

    models: Mapping[ModelKey, int]
    lanes: Mapping[Lane, int] = field(default_factory=dict)

    def limit(self, lane: Lane) -> int:
        """Most jobs of `lane` to claim at once; 0 when its model is not served."""
        return self.lanes.get(lane, self.models.get(lane.model, 0))


class Claim(NamedTuple):
    """A job in a worker's hands.

    Attributes:
        token: grows with each delivery of the job; an answer under an older one is fenced off.
        suspect: it was running when a worker died, so it must not share a batch.
        started: it counts as running already.
        record: what the broker that handed it out needs to know again; nobody else's.
    """

    job: SolveJob
    token: int
    suspect: bool = False
    started: bool = False
    record: bytes = b""


class Idempotency(NamedTuple):
    """A caller's name for a submission.

    Attributes:
        key: unique to the caller's tenant.
        digest: of the request.
    """

    key: str
    digest: str


class Reaped(NamedTuple):
    """What a round of clean-up came to."""

    num_redelivered: int
    num_dead: int


class DeadLetter(NamedTuple):
    """A job that was put aside.

    Attributes:
        id: of the job.
        died_at: Unix seconds.
        reason: for people.
        deliveries: times it was running when its worker died.
        worker: the last one.
    """

    id: str
    model: str
    tenant: str
    died_at: float
    reason: str
    deliveries: int
    worker: str


class AbstractBroker(ABC):
    """Hands jobs to workers and answers back; every accepted job ends exactly once.

    Delivery is at least once: a job whose worker died is handed out again. Ends are exactly once:
    the first that comes under the job's latest token counts. Use as an asynchronous context, in
    which the broker listens for answers.

    Tenants share the workers equally, by the device time their jobs took; within a tenant the job
    that has waited longest goes first, after a head start by priority.
    """

    # --- For gateways -----------------------------------------------------------------------------

    @abstractmethod
    async def submit(
        self, job: SolveJob, *, keep_result: bool, idempotency: Idempotency | None = None
    ) -> str:
        """Accept a job; its id, or that of the job accepted earlier under the same key.

        Args:
            job: a new id.
            keep_result: True keeps the answer for its time to live, to be read by `state`; False
                forgets it once `result` has returned.
            idempotency: only with `keep_result`.

        Raises:
            QueueFull: beyond the bounds; `retry_after_s` is the predicted wait.
            IdempotencyConflict: the key was used for a request with another digest.
            QueueUnavailable: out of reach.
        """

    @abstractmethod
    async def result(self, job_id: str) -> Outcome:
        """The answer, as soon as there is one.

        Raises:
            ServingError: the error the job ended with.
            UnknownJob: never accepted, or forgotten.
        """

    @abstractmethod
    async def state(
        self, job_id: str, *, wait_s: float = 0.0, unlike: str | None = None
    ) -> JobState:
        """Where a job stands, after waiting up to `wait_s` seconds.

        Args:
            job_id: of the job.
            wait_s: longest wait for it to end.
            unlike: wait no longer once the status differs from this.

        Raises:
            UnknownJob: never accepted, or forgotten.
            QueueUnavailable: out of reach.
        """

    @abstractmethod
    async def cancel(self, job_id: str) -> JobState:
        """End a job unanswered, unless it ended before; its state afterwards.

        Raises:
            UnknownJob: never accepted, or forgotten.
            QueueUnavailable: out of reach.
        """

    @abstractmethod
    async def keep(self, job_id: str) -> bool:
        """Keep the result of a job after all; False if it had ended before."""

    @abstractmethod
    async def depth(self) -> Depth:
        """Work that is waiting or running now.

        Raises:
            QueueUnavailable: out of reach.
        """

    @property
    @abstractmethod
    def fault(self) -> str | None:
        """Why the queue cannot be used now; None when it can."""

    @abstractmethod
    def pressure(self) -> QueueFull | None:
        """The refusal that a submission would meet now, as far as is known without asking."""

    # --- For workers ------------------------------------------------------------------------------

    @abstractmethod
    async def claim(self, capacity: Capacity, *, start: bool = False) -> Sequence[Claim]:
        """Queued jobs of one lane, next in line first; waits until there is at least one.

        A suspect comes alone. A job whose deadline has passed ends here instead.

        Args:
            capacity: what the worker can batch.
            start: mark the jobs as running at once, as `start` would.
        """

    @abstractmethod
    async def start(self, claims: Sequence[Claim]) -> Sequence[Claim]:
        """Mark claimed jobs as running; those that are still wanted and still ours, in order."""

    @abstractmethod
    async def renew(self, claims: Sequence[Claim]) -> Sequence[Claim]:
        """Hold claimed jobs for another lease; those that are no longer ours or wanted."""

    @abstractmethod
    async def complete(self, answers: Sequence[tuple[Claim, Outcome]]) -> int:
        """End claimed jobs with answers; how many were fenced off or ended before."""

    @abstractmethod
    async def fail(self, claim: Claim, error: ServingError) -> bool:
        """End a claimed job with an error; False if it was fenced off or ended before."""

    @abstractmethod
    async def release(self, claims: Sequence[Claim]) -> None:
        """Hand claimed jobs back, to be claimed again ahead of others; nobody is blamed."""

    # --- For anyone -------------------------------------------------------------------------------

    @abstractmethod
    async def reap(self) -> Reaped:
        """Take jobs from workers that let their leases run out.

        A job that was waiting there goes back into line. One that was running is a suspect; after
        `max_deliveries` it ends as DeadLettered and is put aside.
        """

    @abstractmethod
    async def dead_letters(self) -> Sequence[DeadLetter]:
        """Jobs put aside, oldest first."""

    @abstractmethod
    async def replay(self, job_id: str) -> bool:
        """Queue a dead letter again, with a clean record; False if there is none of that id."""

    @abstractmethod
    async def purge(self, job_id: str | None = None) -> int:
        """Forget one dead letter, or all; how many."""

    @abstractmethod
    async def __aenter__(self) -> Self:
        """Start listening."""

    @abstractmethod
    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop listening; jobs stay as they are."""

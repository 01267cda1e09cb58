"""The contract of a broker; the same cases in tests/contract run over every implementation."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType, TracebackType
from typing import NamedTuple, Self

from certisolve_server.errors import QueueFull, ServingError
from certisolve_server.jobs import Frame, JobState, Lane, ModelKey, Outcome, Pool, SolveJob

#: Of jobs whose progress nobody knows.
NO_PROGRESS: Mapping[str, float] = MappingProxyType({})


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
        max_certifications: of these, those that are to be certified.
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
    max_certifications: int = 256


@dataclass(frozen=True, slots=True)
class Capacity:
    """How many jobs a worker can put into one batch now.

    Attributes:
        models: by model; a model that is not named is not claimed.
        lanes: exceptions, by lane.
        pool: jobs of others are not claimed.
    """

    models: Mapping[ModelKey, int]
    lanes: Mapping[Lane, int] = field(default_factory=dict)
    pool: Pool = "device"

    def limit(self, lane: Lane) -> int:
        """Most jobs of `lane` to claim at once; 0 when its model is not served."""
        if lane.pool != self.pool:
            return 0
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
    that has waited longest goes first, after a head start by priority. Each pool keeps accounts and
    a line of its own.
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
    def frames(self, job_id: str) -> AsyncIterator[Frame]:
        """Frames of a job that was submitted with `work.stream` and is not kept, as they come.

        Each index once and in order, also when its worker died and another began again. No frame
        is lost to the reader even if its publication was: what was not told when the job has ended
        is taken from the answer, and the frames after one that is missing wait for it until then.
        Of a model that does not advance, the answer is the one frame. Ends when the job has ended,
        however it did, and leaves its end to `result`.

        What waits for a slow reader is at most the frames of the answer, which were accounted when
        the job was submitted. There is one reader, who has to come before the end is read.

        Raises:
            UnknownJob: never accepted, not streamed, or its end was read.
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
    async def renew(
        self, claims: Sequence[Claim], progress: Mapping[str, float] = NO_PROGRESS
    ) -> Sequence[Claim]:
        """Hold claimed jobs for another lease; those that are no longer ours or wanted.

        Args:
            claims: of the jobs.
            progress: by job, the share of its work that is done, 0 to 1; what `state` tells until
                the next time. Cheap enough to be told every second.
        """

    @abstractmethod
    async def cancelled(self, pool: Pool = "device") -> Sequence[str]:
        """Ids of jobs that left this worker's hands, cancelled or lost; waits until there are any.

        Told once, soon after it happened, to whoever waits for the pool alone. It is news and no
        ledger: some may go missing, and `renew` says the same of every job for certain. A job that
        came back to the same worker meanwhile is not named.

        Raises:
            QueueUnavailable: out of reach.
        """

    @abstractmethod
    async def publish(self, frames: Sequence[tuple[Claim, Frame]]) -> None:
        """Tell frames of streamed jobs to who reads them, in the order given.

        A frame of a claim that does not count any more is passed over, and so is one that nobody
        reads. Of a job that is kept, the last one is what `state` tells until the next. The arrays
        are not to be changed afterwards, and are held for as long as the reader takes: views of a
        whole batch should be copied first.

        Raises:
            QueueUnavailable: out of reach; some of the frames may have arrived. They may be told
                again, which does no harm, or dropped: `frames` then makes up for them at the end of
                the job. Frames told after that end are passed over.
        """

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

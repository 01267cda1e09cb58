"""The queue of a server that is one process."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Self

from certisolve_server.errors import (
    Cancelled,
    DeadLettered,
    DeadlineExceeded,
    QueueFull,
    ServingError,
    UnknownJob,
)
from certisolve_server.jobs import Frame, JobState, Outcome, Pool, SolveJob

from .base import (
    NO_PROGRESS,
    AbstractBroker,
    Bounds,
    Capacity,
    Claim,
    DeadLetter,
    Depth,
    Idempotency,
    Reaped,
)
from .dead import Dead, DeadLetters
from .entries import Entry
from .fair_queue import FairQueue, Ticket
from .keys import IdempotencyKeys
from .lanes import LaneRecords
from .losses import Losses
from .results import KeptResults

# No caller is asked to come back sooner than this, however short the line.
_MIN_RETRY_AFTER_S = 0.1
# The only worker there is.
_WORKER = "this process"


class MemoryBroker(AbstractBroker):
    """Jobs in a fair queue, answers in futures; belongs to one event loop.

    Arguments:
        bounds: what it holds at most.
        clock: Unix seconds.
        on_expired: told the stage, `queue` or `device`, in which a claimed job's deadline passed.
    """

    def __init__(
        self,
        bounds: Bounds | None = None,
        clock: Callable[[], float] = time.time,
        on_expired: Callable[[str], None] = lambda stage: None,
    ) -> None:
        self._bounds = bounds or Bounds()
        self._clock = clock
        self._on_expired = on_expired
        self._entries: dict[str, Entry] = {}
        self._queues: dict[Pool, FairQueue] = {"device": FairQueue(), "certify": FairQueue()}
        self._lanes = LaneRecords()
        self._num_bytes = 0
        self._results = KeptResults(self._bounds.result_ttl_s)
        self._keys = IdempotencyKeys(self._bounds.result_ttl_s)
        self._dead = DeadLetters()
        self._losses: dict[Pool, Losses] = {"device": Losses(), "certify": Losses()}
        self._arrival = asyncio.Event()

    # --- For gateways -----------------------------------------------------------------------------

    async def submit(
        self, job: SolveJob, *, keep_result: bool, idempotency: Idempotency | None = None
    ) -> str:
        if job.id in self._entries or job.id in self._results:
            return job.id
        if idempotency is not None:
            known = self._keys.find(job.terms.tenant, idempotency, self._clock())
            if known is not None:
                return known
        num_bytes = job.num_bytes
        self._check_bounds(num_bytes, keep_result)
        self._check_certifications(job)
        if idempotency is not None:
            self._keys.put(job, idempotency)
        self._accept(Entry(job, num_bytes, keep_result, self._ticket(job)))
        return job.id

    async def result(self, job_id: str) -> Outcome:
        entry = self._entries.get(job_id)
        if entry is not None:
            state = await entry.end()
            self._results.mark_read(job_id)
        else:
            state = self._results.take(job_id, self._clock())
        if state.outcome is None:
            raise state.error or Cancelled("the job was cancelled")
        return state.outcome

    async def frames(self, job_id: str) -> AsyncIterator[Frame]:
        entry = self._entries.get(job_id)
        stream = entry.stream if entry else self._results.stream(job_id, self._clock())
        if stream is None:
            raise UnknownJob(f"the job {job_id!r} is not streamed")
        async for frame in stream.told():
            yield frame
        for frame in stream.rest(stream.state.outcome if stream.state else None):
            yield frame

    async def state(
        self, job_id: str, *, wait_s: float = 0.0, unlike: str | None = None
    ) -> JobState:
        entry = self._entries.get(job_id)
        if entry is None:
            return self._results.read(job_id, self._clock())
        if wait_s > 0:
            await entry.change(wait_s, unlike)
        return entry.ended or self._expired(entry) or self._state(entry)

    async def cancel(self, job_id: str) -> JobState:
        entry = self._entries.get(job_id)
        if entry is None:
            return self._results.take(job_id, self._clock())
        entry.keep_result = True
        self._lose(entry)
        return self._end(entry, "cancelled", error=Cancelled("the job was cancelled"))

    async def keep(self, job_id: str) -> bool:
        entry = self._entries.get(job_id)
        if entry is not None:
            entry.keep_result = True
        return entry is not None

    async def depth(self) -> Depth:
        return Depth(len(self._entries), self._num_bytes, self._lanes.expected_s())

    @property
    def fault(self) -> str | None:
        return None

    def pressure(self) -> QueueFull | None:
        return self._refusal(0)

    # --- For workers ------------------------------------------------------------------------------

    async def claim(self, capacity: Capacity, *, start: bool = False) -> Sequence[Claim]:
        while True:
            claims = self._take(capacity, start=start)
            if claims:
                return claims
            self._arrival.clear()
            await self._arrival.wait()

    async def start(self, claims: Sequence[Claim]) -> Sequence[Claim]:
        now = self._clock()
        started = []
        for claim in claims:
            entry = self._held(claim)
            if entry is None:
                continue
            if entry.ticket.expired(now):
                self._on_expired("device")
                self._expire(entry, now)
            else:
                entry.start(now)
                started.append(claim)
        return started

    async def renew(
        self, claims: Sequence[Claim], progress: Mapping[str, float] = NO_PROGRESS
    ) -> Sequence[Claim]:
        lease_until = self._clock() + self._bounds.lease_s
        lost = []
        for claim in claims:
            entry = self._held(claim)
            if entry is None:
                lost.append(claim)
            else:
                entry.lease_until = lease_until
                entry.progress = progress.get(claim.job.id, entry.progress)
        return lost

    async def cancelled(self, pool: Pool = "device") -> Sequence[str]:
        return await self._losses[pool].take()

    async def publish(self, frames: Sequence[tuple[Claim, Frame]]) -> None:
        for claim, frame in frames:
            entry = self._held(claim)
            if entry is None:
                continue
            if entry.stream is not None:
                entry.stream.put(frame)
            if entry.keep_result:
                entry.latest = frame

    async def complete(self, answers: Sequence[tuple[Claim, Outcome]]) -> int:
        num_fenced, observed = 0, False
        for claim, outcome in answers:
            entry = self._held(claim)
            if entry is None:
                num_fenced += 1
                continue
            if not observed:
                entry.ticket.lane.observe(1e-3 * outcome.timings.compute_ms / outcome.batch_size)
                observed = True
            self._end(entry, "succeeded", outcome=outcome)
        return num_fenced

    async def fail(self, claim: Claim, error: ServingError) -> bool:
        entry = self._held(claim)
        if entry is not None:
            self._end(entry, "failed", error=error)
        return entry is not None

    async def release(self, claims: Sequence[Claim]) -> None:
        held = [entry for entry in map(self._held, claims) if entry is not None]
        self._requeue(held)

    # --- For anyone -------------------------------------------------------------------------------

    async def reap(self) -> Reaped:
        now = self._clock()
        orphans = [entry for entry in self._entries.values() if entry.lease_until <= now]
        for entry in orphans:
            self._lose(entry)
            entry.blame()
        dead = [entry for entry in orphans if entry.num_deaths >= self._bounds.max_deliveries]
        for entry in dead:
            self._put_aside(entry, now)
        redelivered = [entry for entry in orphans if entry.ended is None]
        self._requeue(redelivered)
        return Reaped(len(redelivered), len(dead))

    async def dead_letters(self) -> Sequence[DeadLetter]:
        return self._dead.letters()

    async def replay(self, job_id: str) -> bool:
        dead = self._dead.take(job_id)
        if dead is None:
            return False
        self._results.drop(job_id)
        # Its deadline has passed long since; who replays it wants the answer all the same.
        terms = replace(dead.job.terms, deadline=None)
        job = replace(dead.job, terms=terms, submitted_at=self._clock())
        self._accept(Entry(job, job.num_bytes, True, self._ticket(job), token=dead.token))
        return True

    async def purge(self, job_id: str | None = None) -> int:
        return self._dead.purge(job_id)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pass

    # --- How --------------------------------------------------------------------------------------

    def _check_bounds(self, num_bytes: int, keep_result: bool) -> None:
        refusal = self._refusal(num_bytes)
        if refusal is not None:
            raise refusal
        if keep_result and self._results.num_bytes >= self._bounds.max_result_bytes:
            self._check_results()

    def _refusal(self, num_bytes: int) -> QueueFull | None:
        """Why a job of so many bytes would not be taken; None if it would."""
        if len(self._entries) >= self._bounds.max_jobs:
            reason = f"{len(self._entries)} requests are waiting"
        elif self._num_bytes + num_bytes > self._bounds.max_bytes:
            reason = f"{self._num_bytes} bytes are waiting"
        else:
            return None
        retry_after_s = max(_MIN_RETRY_AFTER_S, self._lanes.expected_s())
        return QueueFull(reason, retry_after_s=retry_after_s)

    def _check_certifications(self, job: SolveJob) -> None:
        if job.work.kind != "certify":
            return
        count = self._lanes.num_jobs("certify")
        if count >= self._bounds.max_certifications:
            retry_after_s = max(_MIN_RETRY_AFTER_S, self._lanes.expected_s("certify"))
            raise QueueFull(f"{count} certifications are waiting", retry_after_s=retry_after_s)

    def _check_results(self) -> None:
        now = self._clock()
        self._results.forget(now)
        if self._results.num_bytes >= self._bounds.max_result_bytes:
            wait_s = (self._results.next_room_at() or now) - now
            raise QueueFull(
                f"{self._results.num_bytes} bytes of results are kept",
                retry_after_s=max(_MIN_RETRY_AFTER_S, wait_s),
            )

    def _ticket(self, job: SolveJob) -> Ticket:
        terms = job.terms
        record = self._lanes.of(job.lane)
        return Ticket(
            job.id, terms.tenant, record, terms.priority, job.submitted_at, terms.deadline
        )

    def _accept(self, entry: Entry) -> None:
        self._entries[entry.job.id] = entry
        self._num_bytes += entry.num_bytes
        entry.ticket.lane.num_jobs += 1
        self._queue_of(entry.ticket).add(entry.ticket)
        self._arrival.set()

    def _take(self, capacity: Capacity, *, start: bool) -> list[Claim]:
        queue = self._queues[capacity.pool]
        if not queue.num_tenants:
            return []
        now = self._clock()
        batch, expired = queue.take(capacity.limit, now)
        for ticket in expired:
            self._on_expired("queue")
            self._expire(self._entries[ticket.id], now)
        lease_until = now + self._bounds.lease_s
        entries = [self._entries[ticket.id] for ticket in batch]
        self._losses[capacity.pool].regain(ticket.id for ticket in batch)
        return [entry.claim(now, lease_until, start=start) for entry in entries]

    def _held(self, claim: Claim) -> Entry | None:
        """The job of a claim that still counts."""
        entry = self._entries.get(claim.job.id)
        return entry if entry is not None and entry.held_under == claim.token else None

    def _lose(self, entry: Entry) -> None:
        """Tell the worker, if any, that a job leaves its hands."""
        if entry.held_under is not None:
            self._losses[entry.ticket.lane.lane.pool].put(entry.job.id)

    def _requeue(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            entry.hand_back()
            self._queue_of(entry.ticket).hand_back([entry.ticket])
        self._arrival.set()

    def _queue_of(self, ticket: Ticket) -> FairQueue:
        return self._queues[ticket.lane.lane.pool]

    def _put_aside(self, entry: Entry, now: float) -> None:
        job, count = entry.job, entry.num_deaths
        reason = f"it was running when its worker died, {count} times; the last one was {_WORKER}"
        letter = DeadLetter(job.id, job.model.name, job.terms.tenant, now, reason, count, _WORKER)
        self._dead.put(Dead(letter, job, entry.token))
        self._end(entry, "failed", error=DeadLettered(reason))

    def _expire(self, entry: Entry, now: float) -> JobState:
        spent = entry.timeline.account(now)
        return self._end(entry, "failed", error=DeadlineExceeded(f"the deadline passed: {spent}"))

    def _expired(self, entry: Entry) -> JobState | None:
        """The end of a job whose deadline passed in line; None if it has not."""
        now = self._clock()
        if entry.held_under is None and entry.ticket.expired(now):
            return self._expire(entry, now)
        return None

    def _end(
        self,
        entry: Entry,
        status: str,
        *,
        outcome: Outcome | None = None,
        error: ServingError | None = None,
    ) -> JobState:
        job_id = entry.job.id
        del self._entries[job_id]
        self._num_bytes -= entry.num_bytes
        entry.ticket.lane.num_jobs -= 1
        if entry.held_under is None:
            self._queue_of(entry.ticket).remove(entry.ticket)
        progress = 1.0 if outcome else 0.0
        state = JobState(status, outcome, error, entry.timeline, progress=progress)
        now = self._clock()
        keep = self._results.keep if entry.keep_result else self._results.keep_until_read
        keep(job_id, state, now, entry.stream)
        self._keys.ended(job_id, now)
        entry.finish(state)
        return state

    def _state(self, entry: Entry) -> JobState:
        if entry.status != "queued" or entry.held_under is not None:
            return JobState(
                entry.status,
                timeline=entry.timeline,
                progress=entry.progress,
                latest=entry.latest,
            )
        position = self._queue_of(entry.ticket).position(entry.ticket)
        return JobState(
            entry.status,
            timeline=entry.timeline,
            position=position,
            expected_wait_s=self._expected_wait_s(entry, position or 0),
        )

    def _expected_wait_s(self, entry: Entry, position: int) -> float | None:
        measured_s = entry.ticket.lane.measured_s
        if measured_s is None:
            return None
        ahead_s = position * self._queue_of(entry.ticket).num_tenants * measured_s
        return min(self._lanes.expected_s(entry.ticket.lane.lane.pool), ahead_s)

"""The queue between processes, on Redis Streams. The keyspace is documented in lua/prelude.lua."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from certisolve_server.broker.base import (
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
from certisolve_server.errors import (
    Cancelled,
    IdempotencyConflict,
    QueueFull,
    QueueUnavailable,
    ServingError,
    UnknownJob,
)
from certisolve_server.jobs import Frame, JobState, ModelKey, Outcome, Pool, SolveJob, Timeline

from .claims import Claims
from .connection import Connection
from .outbox import Outbox
from .records import Records, Reply, dead_letter, number
from .replies import Expected, Replies
from .reports import Reports
from .segments import Segments

_SWEEP_S = 60.0
_PAUSE_S = 0.2
_ALIVE = (b"queued", b"claimed", b"running")


class RedisBroker(AbstractBroker):
    """The queue as one gateway or worker sees it.

    Arguments:
        url: `redis://host:port/db`.
        name: of this process, unlike any other's that is alive.
        bounds: the same in every process.
        prefix: of all keys.
        shared_memory: whether large records may go beside Redis, to processes of this machine.
        on_expired: told the stage, `queue` or `device`, in which a claimed job's deadline passed.
        clock: Unix seconds, for tests; None for the clock of Redis.
    """

    def __init__(
        self,
        url: str,
        name: str,
        *,
        bounds: Bounds | None = None,
        prefix: str = "certisolve",
        shared_memory: bool = False,
        on_expired: Callable[[str], None] = lambda stage: None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._segments = Segments(f"{url} {prefix}") if shared_memory else None
        self._records = Records(name, self._segments)
        self._name = name
        self._bounds = bounds or Bounds()
        self._connection = Connection(url, prefix, self._bounds, clock)
        self._outbox = Outbox(self._connection)
        self._replies = Replies(self._connection, name, self._records, self._submit_again)
        self._reports = Reports(self._connection, self._records)
        self._claims = Claims(
            self._connection, name, self._records, self._reports, on_expired, self._spawn
        )
        self._unanswered: dict[str, tuple[Any, ...]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()

    async def __aenter__(self) -> Self:
        self._spawn(self._outbox.run())
        self._spawn(self._replies.run())
        if self._segments is not None:
            self._spawn(self._sweep_forever())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.close()

    async def close(self) -> None:
        """Give the connections back; for one that was not entered."""
        await self._replies.close()
        await self._connection.close()

    @property
    def host(self) -> str:
        """Names the processes that read each other's shared memory; empty for none."""
        return self._records.host

    def set_local_models(self, models: frozenset[ModelKey]) -> None:
        """Say which models only workers of this machine serve; gateways keep it true."""
        self._records.local_models = models

    @property
    def fault(self) -> str | None:
        return self._connection.fault

    async def check(self) -> None:
        """Look whether Redis would keep what it accepts.

        Raises:
            UnsafeRedis: too old, or set up to drop keys.
            QueueUnavailable: out of reach.
        """
        await self._connection.check()

    def pressure(self) -> QueueFull | None:
        return self._outbox.pressure()

    async def sweep(self) -> None:
        """Remove what processes left in shared memory when they died, a minute after that.

        Raises:
            QueueUnavailable: out of reach.
        """
        if self._segments is None:
            return
        for job_id, reference in await asyncio.to_thread(list, self._segments.old()):
            key = self._connection.key("job", job_id)
            if await self._connection.command("HGET", key, "status") not in _ALIVE:
                self._segments.remove(reference)

    # --- For gateways -----------------------------------------------------------------------------

    async def submit(
        self, job: SolveJob, *, keep_result: bool, idempotency: Idempotency | None = None
    ) -> str:
        values = self._records.submission(job, keep_result, idempotency)
        if not keep_result:
            self._replies.expect(job)
            self._unanswered[job.id] = values
        posted = self._outbox.post(values)
        try:
            status, job_id = self._outbox.read(await asyncio.shield(posted))
        except BaseException as error:
            self._forget(job.id)
            if isinstance(error, asyncio.CancelledError | QueueUnavailable):
                self._spawn(self._withdraw(job.id, posted))
            raise
        if status == b"conflict":
            raise IdempotencyConflict(
                "the key was used for another request", field="Idempotency-Key"
            )
        return str(job_id.decode())

    async def result(self, job_id: str) -> Outcome:
        expected = self._replies.expected(job_id)
        if expected is None:
            return _outcome(await self._kept_end(job_id))
        # Shielded: one waiter that goes away must not take the answer from the others.
        state = await asyncio.shield(expected.end)
        self._forget(job_id)
        return _outcome(state or await self._kept_end(job_id))

    async def frames(self, job_id: str) -> AsyncIterator[Frame]:
        expected = self._replies.expected(job_id)
        stream = expected.stream if expected else None
        if stream is None:
            raise UnknownJob(f"no job {job_id!r} that is streamed here")
        async for frame in stream.told():
            yield frame
        state = stream.state or await self._kept_end(job_id)
        for frame in stream.rest(state.outcome):
            yield frame

    async def state(
        self, job_id: str, *, wait_s: float = 0.0, unlike: str | None = None
    ) -> JobState:
        if wait_s <= 0:
            return await self._state(job_id, "", "", "")
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + wait_s
        with self._replies.changes(job_id) as changed:
            while True:
                changed.clear()
                state = await self._state(job_id, self._name, unlike or "", "")
                left_s = give_up_at - loop.time()
                if state.ended or left_s <= 0 or (unlike and state.status != unlike):
                    return state
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(left_s):
                        await changed.wait()

    async def cancel(self, job_id: str) -> JobState:
        state = await self._state(job_id, "", "", "1")
        expected = self._forget(job_id)
        if expected is not None:
            error = state.error or Cancelled("the job was cancelled")
            expected.settle(JobState("cancelled", error=error))
        return state

    async def keep(self, job_id: str) -> bool:
        try:
            reply = await self._ask(job_id, "", "", "2")
        except UnknownJob:
            return False
        return bool(reply[8])

    async def depth(self) -> Depth:
        jobs, num_bytes, expected_s = await self._connection.run("depth")
        return Depth(jobs, num_bytes, float(expected_s))

    # --- For workers ------------------------------------------------------------------------------

    async def claim(self, capacity: Capacity, *, start: bool = False) -> Sequence[Claim]:
        return await self._claims.take(capacity, start=start)

    async def start(self, claims: Sequence[Claim]) -> Sequence[Claim]:
        return await self._claims.start(claims)

    async def renew(
        self, claims: Sequence[Claim], progress: Mapping[str, float] = NO_PROGRESS
    ) -> Sequence[Claim]:
        return await self._claims.renew(claims, progress)

    async def cancelled(self, pool: Pool = "device") -> Sequence[str]:
        return await self._claims.lost(pool)

    async def publish(self, frames: Sequence[tuple[Claim, Frame]]) -> None:
        await self._reports.publish(frames)

    async def complete(self, answers: Sequence[tuple[Claim, Outcome]]) -> int:
        return await self._reports.complete(answers)

    async def fail(self, claim: Claim, error: ServingError) -> bool:
        return await self._reports.fail(claim.job.id, claim.token, error)

    async def release(self, claims: Sequence[Claim]) -> None:
        await self._claims.release(claims)

    # --- For anyone -------------------------------------------------------------------------------

    async def reap(self) -> Reaped:
        return Reaped(*await self._connection.run("reap"))

    async def dead_letters(self) -> Sequence[DeadLetter]:
        entries = await self._connection.command(
            "XRANGE", self._connection.key("dead"), "-", "+", "COUNT", 1000
        )
        return [dead_letter(values) for _, values in entries]

    async def replay(self, job_id: str) -> bool:
        return bool(await self._connection.run("replay", job_id))

    async def purge(self, job_id: str | None = None) -> int:
        return int(await self._connection.run("purge", job_id or ""))

    # ----------------------------------------------------------------------------------------------

    def _forget(self, job_id: str) -> Expected | None:
        """Wait no longer for a job of this process; what there is, if it was still expected."""
        values = self._unanswered.pop(job_id, None)
        if values is not None:
            self._records.withdraw(values)
        return self._replies.drop(job_id)

    def _submit_again(self) -> None:
        """After an outage: a Redis that lost what it had accepted gets it back."""
        for values in self._unanswered.values():
            self._spawn(self._submit_quietly(values))

    async def _submit_quietly(self, values: tuple[Any, ...]) -> None:
        # The next outage, or the caller's deadline, brings what fails here to an end.
        with contextlib.suppress(ServingError):
            await self._outbox.post(values)

    async def _withdraw(self, job_id: str, posted: "asyncio.Future[list[Any]]") -> None:
        """Cancel what was posted, in case it was or will be taken."""
        await asyncio.wait([posted])
        posted.exception()  # seen: it is not to be logged as lost
        with contextlib.suppress(ServingError):
            await self._state(job_id, "", "", "1")

    async def _kept_end(self, job_id: str) -> JobState:
        while True:
            try:
                state = await self.state(job_id, wait_s=60.0)
            except QueueUnavailable:
                await asyncio.sleep(_PAUSE_S)  # the job is safe, and so is its answer
                continue
            if state.ended:
                return state

    async def _state(self, job_id: str, gateway: str, unlike: str, action: str) -> JobState:
        (
            status,
            submitted,
            claimed,
            started,
            position,
            expected_s,
            field,
            payload,
            _,
            progress,
            latest,
        ) = await self._ask(job_id, gateway, unlike, action)
        if status == b"succeeded" and not payload:
            return self._unread(job_id)
        timeline = Timeline(float(submitted), number(claimed), number(started))
        if payload:
            return self._records.read_end(Reply(status.decode(), field.decode(), payload), timeline)
        place = None if not position else int(position)
        return JobState(
            status.decode(),
            timeline=timeline,
            position=place,
            expected_wait_s=number(expected_s),
            progress=number(progress) or 0.0,
            latest=self._records.read_frame(latest) if latest else None,
            error=Cancelled("the job was cancelled") if status == b"cancelled" else None,
        )

    async def _ask(self, job_id: str, gateway: str, unlike: str, action: str) -> list[Any]:
        reply = await self._connection.run("state", job_id, gateway, unlike, action)
        if reply is None:
            raise _unknown(job_id, self._bounds)
        return list(reply)

    def _unread(self, job_id: str) -> JobState:
        """The state of a job that ended, whose answer is here or was read already."""
        expected = self._replies.expected(job_id)
        if expected is None:
            raise _unknown(job_id, self._bounds)
        state = expected.end.result() if expected.end.done() else None
        return state or JobState("running")

    async def _sweep_forever(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_S)
            with contextlib.suppress(ServingError):
                await self.sweep()

    def _spawn(self, coroutine: Any) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _outcome(state: JobState) -> Outcome:
    if state.outcome is None:
        raise state.error or Cancelled("the job was cancelled")
    return state.outcome


def _unknown(job_id: str, bounds: Bounds) -> UnknownJob:
    return UnknownJob(f"no job {job_id!r}; results are forgotten {bounds.result_ttl_s:g} s after")

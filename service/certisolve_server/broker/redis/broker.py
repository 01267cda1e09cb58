"""The queue between processes, on Redis Streams. The keyspace is documented in lua/prelude.lua."""

import asyncio
import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any, Self

from certisolve_server.broker.base import (
    AbstractBroker,
    Bounds,
    Capacity,
    Claim,
    DeadLetter,
    Depth,
    Idempotency,
    Reaped,
)
from certisolve_server.broker.envelope import (
    decode_error,
    decode_job,
    decode_outcome,
    encode_error,
    encode_job,
    encode_outcome,
)
from certisolve_server.errors import (
    Cancelled,
    IdempotencyConflict,
    InternalError,
    QueueFull,
    QueueUnavailable,
    ServingError,
    UnknownJob,
)
from certisolve_server.jobs import JobState, ModelKey, Outcome, SolveJob, Timeline

from .connection import Connection
from .outbox import Outbox
from .replies import Replies, Reply
from .segments import SegmentLost, Segments
from .texts import lane_text, model_text

#: Longest wait for a wake-up: a worker that was woken may have died before it claimed.
_WAKE_S = 1.0
#: Bytes of inputs that one claim takes into a worker.
_MAX_CLAIM_BYTES = 64 << 20
_MAX_ANSWER_BYTES = 32 << 20
#: Larger records go through shared memory where they can; benchmarks/queue.py has both ways.
_MAX_INLINE_BYTES = 64 << 10
_SWEEP_S = 60.0
_PAUSE_S = 0.2
# What start.lua replies for a job.
_WANTED, _LATE = 1, 2
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
        #: Models that only workers of this machine serve; gateways keep it true.
        self.local_models: frozenset[ModelKey] = frozenset()
        self._segments = Segments(f"{url} {prefix}") if shared_memory else None
        self._name = name
        self._on_expired = on_expired
        self._bounds = bounds or Bounds()
        self._connection = Connection(url, prefix, self._bounds, clock)
        self._outbox = Outbox(self._connection)
        self._replies = Replies(self._connection, name, self._submit_again, self._drop_answer)
        self._unanswered: dict[str, tuple[Any, ...]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._idle = False

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
        return self._segments.host if self._segments else ""

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
        values = self._values(job, keep_result, idempotency)
        if not keep_result:
            self._replies.expect(job.id)
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
        future = self._replies.end_of(job_id)
        if future is None:
            return await self._kept_result(job_id)
        # Shielded: one waiter that goes away must not take the answer from the others.
        reply = await asyncio.shield(future)
        self._forget(job_id)
        if not reply.payload:
            return await self._kept_result(job_id)
        return _outcome(self._read_end(reply))

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
        future = self._forget(job_id)
        if future is not None and not future.done():
            error = state.error or Cancelled("the job was cancelled")
            future.set_result(Reply("cancelled", "error", encode_error(error)))
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
        wanted = _capacity_text(capacity)
        while True:
            claims = await self._claim_now(wanted, start)
            if claims:
                return claims
            await self._wait_for_wake()

    async def start(self, claims: Sequence[Claim]) -> Sequence[Claim]:
        wanted = await self._connection.run("start", *_tokens(claims))
        for _ in range(wanted.count(_LATE)):
            self._on_expired("device")
        pairs = zip(claims, wanted, strict=True)
        return [claim._replace(started=True) for claim, answer in pairs if answer == _WANTED]

    async def renew(self, claims: Sequence[Claim]) -> Sequence[Claim]:
        if not claims:
            return []
        ours = await self._connection.run("renew", *_tokens(claims))
        return [claim for claim, is_ours in zip(claims, ours, strict=True) if not is_ours]

    async def complete(self, answers: Sequence[tuple[Claim, Outcome]]) -> int:
        num_late = 0
        for group in _affordable(answers):
            records = [self._answer_record(claim, outcome) for claim, outcome in group]
            replies = await self._answer(group, records)
            for (claim, outcome), record, reply in zip(group, records, replies, strict=True):
                if reply != b"ok" and self._segments is not None:
                    self._segments.remove(record)
                if reply == b"kept":
                    [reply] = await self._answer(
                        [(claim, outcome)], [encode_outcome(outcome).to_bytes()]
                    )
                num_late += reply == b"late"
        return num_late

    async def fail(self, claim: Claim, error: ServingError) -> bool:
        return await self._fail(claim.job.id, claim.token, error)

    async def release(self, claims: Sequence[Claim]) -> None:
        if claims:
            await self._connection.run("release", *_tokens(claims))

    # --- For anyone -------------------------------------------------------------------------------

    async def reap(self) -> Reaped:
        return Reaped(*await self._connection.run("reap"))

    async def dead_letters(self) -> Sequence[DeadLetter]:
        entries = await self._connection.command(
            "XRANGE", self._connection.key("dead"), "-", "+", "COUNT", 1000
        )
        return [_dead_letter(values) for _, values in entries]

    async def replay(self, job_id: str) -> bool:
        return bool(await self._connection.run("replay", job_id))

    async def purge(self, job_id: str | None = None) -> int:
        return int(await self._connection.run("purge", job_id or ""))

    # ----------------------------------------------------------------------------------------------

    def _values(
        self, job: SolveJob, keep_result: bool, idempotency: Idempotency | None
    ) -> tuple[Any, ...]:
        terms = job.terms
        record, host = self._job_record(job, keep_result)
        return (
            job.id,
            record,
            job.num_bytes,
            model_text(job.model),
            lane_text(job.lane),
            host,
            terms.tenant,
            terms.priority.value,
            repr(job.submitted_at - terms.priority.head_start_s),
            "" if terms.deadline is None else repr(terms.deadline),
            int(keep_result),
            "" if keep_result else self._name,
            repr(job.submitted_at),
            f"{_sha256(idempotency.key)} {_sha256(idempotency.digest)}" if idempotency else "",
            "" if keep_result else self.host,
        )

    def _job_record(self, job: SolveJob, keep_result: bool) -> tuple[bytes, str]:
        """The job or a reference to it, and the host whose workers can read it."""
        record, segments = encode_job(job), self._segments
        large = record.num_bytes > _MAX_INLINE_BYTES
        # What is to be kept is to outlive this machine's memory.
        if large and segments and not keep_result and job.model in self.local_models:
            reference = segments.write(job.id, "in", record.chunks)
            if reference is not None:
                return reference, segments.host
        return record.to_bytes(), ""

    def _answer_record(self, claim: Claim, outcome: Outcome) -> bytes:
        record, segments = encode_outcome(outcome), self._segments
        large = record.num_bytes > _MAX_INLINE_BYTES
        if large and segments and claim.record.decode() == segments.host:
            reference = segments.write(claim.job.id, "out", record.chunks)
            if reference is not None:
                return reference
        return record.to_bytes()

    async def _answer(
        self, answers: Sequence[tuple[Claim, Outcome]], records: Sequence[bytes]
    ) -> list[bytes]:
        values: list[Any] = []
        for (claim, outcome), record in zip(answers, records, strict=True):
            seconds = outcome.timings.compute_ms / 1e3 / outcome.batch_size
            values += (claim.job.id, claim.token, "succeeded", "result", record, f"{seconds:.9f}")
        return list(await self._connection.run_until_done("answer", *values))

    async def _fail(self, job_id: str, token: int, error: ServingError) -> bool:
        values = (job_id, token, "failed", "error", encode_error(error), "")
        return bool(await self._connection.run_until_done("answer", *values) == [b"ok"])

    def _forget(self, job_id: str) -> "asyncio.Future[Reply] | None":
        """Wait no longer for a job of this process; its end, if it was still expected."""
        values = self._unanswered.pop(job_id, None)
        if values is not None and self._segments is not None:
            self._segments.remove(values[1])
        return self._replies.drop(job_id)

    def _drop_answer(self, payload: bytes) -> None:
        """Its caller left meanwhile."""
        if self._segments is not None:
            self._segments.remove(payload)

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

    async def _kept_result(self, job_id: str) -> Outcome:
        while True:
            try:
                state = await self.state(job_id, wait_s=60.0)
            except QueueUnavailable:
                await asyncio.sleep(_PAUSE_S)  # the job is safe, and so is its answer
                continue
            if state.ended:
                return _outcome(state)

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
        ) = await self._ask(job_id, gateway, unlike, action)
        if status == b"succeeded" and not payload:
            return self._unread(job_id)
        timeline = Timeline(float(submitted), _number(claimed), _number(started))
        if payload:
            return _state(Reply(status.decode(), field.decode(), payload), timeline)
        place = None if not position else int(position)
        return JobState(
            status.decode(),
            timeline=timeline,
            position=place,
            expected_wait_s=_number(expected_s),
            error=Cancelled("the job was cancelled") if status == b"cancelled" else None,
        )

    async def _ask(self, job_id: str, gateway: str, unlike: str, action: str) -> list[Any]:
        reply = await self._connection.run("state", job_id, gateway, unlike, action)
        if reply is None:
            raise _unknown(job_id, self._bounds)
        return list(reply)

    def _unread(self, job_id: str) -> JobState:
        """The state of a job that ended, whose answer is here or was read already."""
        future = self._replies.end_of(job_id)
        if future is None:
            raise _unknown(job_id, self._bounds)
        return self._read_end(future.result()) if future.done() else JobState("running")

    def _read_end(self, reply: Reply) -> JobState:
        """The state at the end of a job, whose answer may lie in shared memory."""
        if reply.field != "result" or self._segments is None:
            return _state(reply)
        try:
            record = self._segments.read(reply.payload, remove=True)
        except SegmentLost as error:
            return JobState("failed", error=InternalError(str(error)))
        return JobState(reply.status, outcome=decode_outcome(record), progress=1.0)

    async def _claim_now(self, wanted: str, start: bool) -> list[Claim]:
        values = (self._name, self.host, int(start), int(self._idle), wanted, _MAX_CLAIM_BYTES)
        asking = asyncio.ensure_future(self._connection.run("claim", *values))
        try:
            reply = await asyncio.shield(asking)
        except asyncio.CancelledError:
            # Whatever it was given must not wait for the end of its lease.
            self._spawn(self._give_back(asking, start))
            raise
        for _ in range(reply[0]):
            self._on_expired("queue")
        self._idle = len(reply) == 1
        return await self._read_claims(reply, start)

    async def _read_claims(self, reply: list[Any], start: bool) -> list[Claim]:
        claims = []
        for index in range(1, len(reply), 6):
            job_id, token, suspect, deadline, via, body = reply[index : index + 6]
            try:
                record = self._segments.read(body) if self._segments else body
                job = decode_job(record, _number(deadline))
            except (InternalError, SegmentLost) as error:
                await self._fail(job_id.decode(), token, InternalError(str(error)))
                continue
            claims.append(Claim(job, token, bool(suspect), start, via))
        return claims

    async def _give_back(self, asking: "asyncio.Future[Any]", start: bool) -> None:
        with contextlib.suppress(ServingError):
            await self.release(await self._read_claims(await asking, start))

    async def _wait_for_wake(self) -> None:
        wake = self._connection.key("wake", self._name)
        await self._connection.command("BLPOP", wake, _WAKE_S)

    async def _sweep_forever(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_S)
            with contextlib.suppress(QueueUnavailable):
                await self.sweep()

    def _spawn(self, coroutine: Any) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _capacity_text(capacity: Capacity) -> str:
    lanes: dict[str, dict[str, int]] = {}
    for lane, limit in capacity.lanes.items():
        lanes.setdefault(model_text(lane.model), {})[lane_text(lane)] = limit
    models = {model_text(model): limit for model, limit in capacity.models.items()}
    return json.dumps({name: [limit, lanes.get(name, {})] for name, limit in models.items()})


def _affordable(
    answers: Sequence[tuple[Claim, Outcome]],
) -> Iterator[list[tuple[Claim, Outcome]]]:
    """Groups that one call to Redis can bear."""
    group: list[tuple[Claim, Outcome]] = []
    num_bytes = 0
    for answer in answers:
        group.append(answer)
        num_bytes += sum(output.nbytes for output in answer[1].outputs)
        if num_bytes >= _MAX_ANSWER_BYTES:
            yield group
            group, num_bytes = [], 0
    if group:
        yield group


def _tokens(claims: Sequence[Claim]) -> list[Any]:
    return [value for claim in claims for value in (claim.job.id, claim.token)]


def _number(text: bytes) -> float | None:
    return float(text) if text else None


def _state(reply: Reply, timeline: Timeline | None = None) -> JobState:
    if reply.field == "result":
        outcome = decode_outcome(reply.payload)
        return JobState(reply.status, outcome=outcome, timeline=timeline, progress=1.0)
    return JobState(reply.status, error=decode_error(reply.payload), timeline=timeline)


def _outcome(state: JobState) -> Outcome:
    if state.outcome is None:
        raise state.error or Cancelled("the job was cancelled")
    return state.outcome


def _unknown(job_id: str, bounds: Bounds) -> UnknownJob:
    return UnknownJob(f"no job {job_id!r}; results are forgotten {bounds.result_ttl_s:g} s after")


def _sha256(text: str) -> str:
    # Keys are the caller's words: any length and any characters.
    return hashlib.sha256(text.encode()).hexdigest()


def _dead_letter(values: dict[bytes, bytes]) -> DeadLetter:
    text = {name.decode(): value.decode() for name, value in values.items()}
    return DeadLetter(
        id=text["id"],
        model=text["model"].partition("/")[0],
        tenant=text["tenant"],
        died_at=float(text["died"]),
        reason=text["reason"],
        deliveries=int(text["deliveries"]),
        worker=text["worker"],
    )

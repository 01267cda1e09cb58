"""Jobs and answers on their way through Redis, or beside it in shared memory."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from certisolve_server.broker.base import Capacity, Claim, DeadLetter, Idempotency
from certisolve_server.broker.envelope import (
    Record,
    decode_error,
    decode_frame,
    decode_job,
    decode_outcome,
    encode_frame,
    encode_job,
    encode_outcome,
)
from certisolve_server.errors import InternalError
from certisolve_server.jobs import Frame, JobState, ModelKey, Outcome, SolveJob, Timeline

from .segments import SegmentLost, Segments
from .texts import lane_text, pool_text

#: Larger records go through shared memory where they can; benchmarks/queue.py has both ways.
_MAX_INLINE_BYTES = 64 << 10
_MAX_GROUP_BYTES = 32 << 20
#: The place of the record in a submission.
RECORD = 1

T = TypeVar("T")


class Reply(NamedTuple):
    """The end of a job.

    Attributes:
        field: `result` or `error`; says how to read the payload.
        payload: empty when the result is kept with the job.
    """

    status: str
    field: str
    payload: bytes


class Records:
    """Writes and reads what travels.

    Arguments:
        process: whose name stands on jobs that it waits for.
        segments: of the queue on this machine; None keeps everything in Redis.
    """

    def __init__(self, process: str, segments: Segments | None) -> None:
        #: Models that only workers of this machine serve.
        self.local_models: frozenset[ModelKey] = frozenset()
        self._process = process
        self._segments = segments

    @property
    def host(self) -> str:
        """Names the processes that read each other's shared memory; empty for none."""
        return self._segments.host if self._segments else ""

    def submission(
        self, job: SolveJob, keep_result: bool, idempotency: Idempotency | None
    ) -> tuple[Any, ...]:
        """What submit.lua takes for one job."""
        terms = job.terms
        record, host = self._job_record(job, keep_result)
        return (
            job.id,
            record,
            job.num_bytes,
            pool_text(job.model, job.lane.pool),
            lane_text(job.lane),
            host,
            terms.tenant,
            terms.priority.value,
            repr(job.submitted_at - terms.priority.head_start_s),
            "" if terms.deadline is None else repr(terms.deadline),
            int(keep_result),
            "" if keep_result else self._process,
            repr(job.submitted_at),
            f"{_sha256(idempotency.key)} {_sha256(idempotency.digest)}" if idempotency else "",
            "" if keep_result else self.host,
        )

    def withdraw(self, submission: tuple[Any, ...]) -> None:
        """Remove what a submission has put into shared memory."""
        self.remove(submission[RECORD])

    def remove(self, record: bytes) -> None:
        """Remove what a record refers to in shared memory, if it does."""
        if self._segments is not None:
            self._segments.remove(record)

    def answer(self, claim: Claim, outcome: Outcome) -> bytes:
        """An answer for the process that waits for it."""
        return self._outgoing(claim, encode_outcome(outcome))

    def frame(self, claim: Claim, frame: Frame) -> bytes:
        """A frame for the process that waits for it, and for those that ask for the latest."""
        record = encode_frame(frame)
        if claim.job.lane.pool == "certify":  # small, and read more than once
            return record.to_bytes()
        return self._outgoing(claim, record)

    def read_job(self, body: bytes, deadline: bytes) -> SolveJob:
        """The job of a claim.

        Raises:
            InternalError: damaged, or gone with the shared memory it was in.
        """
        return decode_job(self._inside(body), number(deadline))

    def read_end(self, reply: Reply, timeline: Timeline | None = None) -> JobState:
        """The state at the end of a job; an answer in shared memory can be read once."""
        try:
            if reply.field != "result":
                return JobState(reply.status, error=decode_error(reply.payload), timeline=timeline)
            outcome = decode_outcome(self._inside(reply.payload, remove=True))
        except InternalError as error:
            return JobState("failed", error=error, timeline=timeline)
        return JobState(reply.status, outcome=outcome, timeline=timeline, progress=1.0)

    def read_frame(self, payload: bytes) -> Frame | None:
        """A frame; None if it cannot be read, or not any more."""
        try:
            return decode_frame(self._inside(payload, remove=True))
        except InternalError:
            return None  # the answer has it, too

    def _inside(self, payload: bytes, *, remove: bool = False) -> bytes | memoryview:
        """The record that came, or that what came refers to."""
        if self._segments is None:
            return payload
        try:
            return self._segments.read(payload, remove=remove)
        except SegmentLost as error:
            raise InternalError(str(error)) from error

    def _outgoing(self, claim: Claim, record: Record) -> bytes:
        """The record, or a reference to it if who waits can follow it."""
        segments = self._segments
        large = record.num_bytes > _MAX_INLINE_BYTES
        if large and segments and claim.record.decode() == segments.host:
            reference = segments.write(claim.job.id, "out", record.chunks)
            if reference is not None:
                return reference
        return record.to_bytes()

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


def capacity_text(capacity: Capacity) -> str:
    """What claim.lua takes for a worker's capacity."""
    pool = capacity.pool
    lanes: dict[str, dict[str, int]] = {}
    for lane, limit in capacity.lanes.items():
        lanes.setdefault(pool_text(lane.model, pool), {})[lane_text(lane)] = limit
    models = {pool_text(model, pool): limit for model, limit in capacity.models.items()}
    return json.dumps({name: [limit, lanes.get(name, {})] for name, limit in models.items()})


def groups(items: Sequence[T], num_bytes_of: Callable[[T], int]) -> Iterator[list[T]]:
    """Groups of answers or frames that one call to Redis can bear."""
    group: list[T] = []
    num_bytes = 0
    for item in items:
        group.append(item)
        num_bytes += num_bytes_of(item)
        if num_bytes >= _MAX_GROUP_BYTES:
            yield group
            group, num_bytes = [], 0
    if group:
        yield group


def tokens(claims: Sequence[Claim]) -> list[Any]:
    """What scripts take for claims."""
    return [value for claim in claims for value in (claim.job.id, claim.token)]


def renewals(claims: Sequence[Claim], progress: Mapping[str, float]) -> list[Any]:
    """What renew.lua takes for claims."""
    return [
        value
        for claim in claims
        for value in (claim.job.id, claim.token, progress.get(claim.job.id, ""))
    ]


def number(text: bytes) -> float | None:
    """A number that a script replied; None for none."""
    return float(text) if text else None


def dead_letter(values: dict[bytes, bytes]) -> DeadLetter:
    """What reap.lua wrote down."""
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


def _sha256(text: str) -> str:
    # Keys are the caller's words: any length and any characters.
    return hashlib.sha256(text.encode()).hexdigest()

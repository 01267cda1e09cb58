"""The queue of a server that is one process."""

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import replace

from certisolve_server.errors import Cancelled, ServingError, UnknownJob
from certisolve_server.jobs import JobState, Outcome, SolveJob

from .base import AbstractBroker, Depth

_QUEUED, _RUNNING = JobState("queued"), JobState("running")


class MemoryBroker(AbstractBroker):
    """Jobs in a deque, answers in futures; belongs to one event loop.

    Arguments:
        result_ttl_s: seconds a kept result stays readable.
        max_result_bytes: bytes of kept results beyond which the oldest are forgotten early.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        *,
        result_ttl_s: float = 600.0,
        max_result_bytes: int = 1 << 30,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._results = _KeptResults(result_ttl_s, max_result_bytes, clock)
        self._entries: dict[str, _Entry] = {}
        self._unread: dict[str, JobState] = {}
        self._queue: deque[str] = deque()
        self._arrival = asyncio.Event()
        self._num_bytes = 0

    async def submit(self, job: SolveJob, *, keep_result: bool) -> None:
        ended = asyncio.get_running_loop().create_future()
        self._entries[job.id] = _Entry(job, keep_result, ended)
        self._queue.append(job.id)
        self._num_bytes += job.num_bytes
        self._arrival.set()

    async def claim(self, max_jobs: int) -> Sequence[SolveJob]:
        while True:
            claimed = self._pop(max_jobs)
            if claimed:
                return claimed
            self._arrival.clear()
            await self._arrival.wait()

    async def start(self, job_ids: Sequence[str]) -> Sequence[str]:
        wanted = [job_id for job_id in job_ids if job_id in self._entries]
        for job_id in wanted:
            self._entries[job_id].state = _RUNNING
        return wanted

    async def complete(self, job_id: str, outcome: Outcome) -> None:
        self._end(job_id, JobState("succeeded", outcome=outcome))

    async def fail(self, job_id: str, error: ServingError) -> None:
        self._end(job_id, JobState("failed", error=error))

    async def cancel(self, job_id: str) -> JobState:
        self._end(job_id, JobState("cancelled", error=Cancelled("the job was cancelled")))
        return self._unread.pop(job_id, None) or await self.state(job_id)

    async def result(self, job_id: str) -> Outcome:
        entry = self._entries.get(job_id)
        if entry is not None:
            # Shielded: one waiter that goes away must not take the answer from the others.
            await asyncio.shield(entry.ended)
        unread = self._unread.pop(job_id, None)
        state = entry.state if entry else unread or self._results.get(job_id)
        if state.outcome is None:
            raise state.error or Cancelled("the job was cancelled")
        return state.outcome

    async def state(self, job_id: str, *, wait_s: float = 0.0) -> JobState:
        entry = self._entries.get(job_id)
        if entry is None:
            return self._unread.get(job_id) or self._results.get(job_id)
        if wait_s > 0:
            await asyncio.wait([entry.ended], timeout=wait_s)
        return entry.state

    def depth(self) -> Depth:
        return Depth(len(self._entries), self._num_bytes)

    def _pop(self, max_jobs: int) -> list[SolveJob]:
        claimed: list[SolveJob] = []
        while self._queue and len(claimed) < max_jobs:
            entry = self._entries.get(self._queue.popleft())
            if entry is not None:
                claimed.append(entry.job)
        return claimed

    def _end(self, job_id: str, state: JobState) -> None:
        entry = self._entries.pop(job_id, None)
        if entry is None:
            return
        self._num_bytes -= entry.job.num_bytes
        entry.state = state
        entry.ended.set_result(state)
        if entry.keep_result or state.status == "cancelled":
            self._results.put(job_id, state)
        else:
            self._unread[job_id] = state


class _Entry:
    """A job that has not ended."""

    __slots__ = ("ended", "job", "keep_result", "state")

    def __init__(self, job: SolveJob, keep_result: bool, ended: asyncio.Future[JobState]) -> None:
        self.job = job
        self.keep_result = keep_result
        self.ended = ended
        self.state = _QUEUED


class _KeptResults:
    """Ended jobs, forgotten after a time to live or when they hold too many bytes."""

    def __init__(self, ttl_s: float, max_bytes: int, clock: Callable[[], float]) -> None:
        self._ttl_s = ttl_s
        self._max_bytes = max_bytes
        self._clock = clock
        self._states: OrderedDict[str, tuple[float, int, JobState]] = OrderedDict()
        self._num_bytes = 0

    def put(self, job_id: str, state: JobState) -> None:
        outputs = state.outcome.outputs if state.outcome else ()
        num_bytes = sum(array.nbytes for array in outputs)
        self._states[job_id] = (self._clock() + self._ttl_s, num_bytes, _detached(state))
        self._num_bytes += num_bytes
        self._forget()

    def get(self, job_id: str) -> JobState:
        self._forget()
        entry = self._states.get(job_id)
        if entry is None:
            raise UnknownJob(f"no job {job_id!r}; results are forgotten {self._ttl_s:g} s after")
        return entry[2]

    def _forget(self) -> None:
        now = self._clock()
        while self._states:
            expires_at, num_bytes, _ = next(iter(self._states.values()))
            fits = self._num_bytes <= self._max_bytes or len(self._states) == 1
            if fits and expires_at > now:
                return
            self._states.popitem(last=False)
            self._num_bytes -= num_bytes


def _detached(state: JobState) -> JobState:
    # Outputs are views of their whole batch, which must not be kept alive by one of them.
    if state.outcome is None:
        return state
    outputs = tuple(array.copy() for array in state.outcome.outputs)
    return replace(state, outcome=replace(state.outcome, outputs=outputs))

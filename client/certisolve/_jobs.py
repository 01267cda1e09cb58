"""Handles on work the server does in the background."""

import contextlib
import math
import random
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from typing import Any, Generic, TypeVar

from ._calls import Call, Reply
from ._certificate import Certificate
from ._clock import Clock
from ._config import JOB_POLL_INTERVAL_S, JOB_POLL_S
from ._errors import (
    Cancelled,
    CertisolveError,
    ConnectionFailed,
    InvalidReply,
    RequestTimeout,
)
from ._job_calls import (
    Answer,
    JobReply,
    build_cancel_job,
    build_job,
    build_watch_job,
    read_job,
)
from ._results import JobInfo, JobStatus
from ._retry import RetryPolicy

#: What the job ends with: a solution or a certificate.
T = TypeVar("T", bound=Answer)


class Job(Generic[T]):
    """Work in the background, from `Client.submit_solve`, `Client.submit_certify` or `Client.job`.

    Attributes:
        id: names the job on the server; another process can re-attach with `Client.job(id)`.
    """

    def __init__(
        self,
        job_id: str,
        *,
        send: Callable[[Call], Reply],
        stream: Callable[[Call], Generator[Reply, None, None]],
        clock: Clock,
        retry: RetryPolicy,
        timeout_s: float | None,
    ) -> None:
        self.id = job_id
        self._send = send
        self._stream = stream
        self._clock = clock
        self._retry = retry
        self._timeout_s = timeout_s

    def __repr__(self) -> str:
        return f"Job({self.id!r})"

    def state(self) -> JobInfo:
        """Where the job stands now: status, position in the queue, expected wait, progress.

        Raises:
            NotFound: no such job, or its result was forgotten after its time to live.
        """
        return read_job(self._send(build_job(self.id, 0.0, self._timeout_s))).info

    def status(self) -> JobStatus:
        """The status alone of `state`."""
        return self.state().status

    def events(self) -> Generator[JobInfo, None, None]:
        """Where the job stands: at once, then at each change, until it has ended.

        A stream that breaks is opened again, as the client's RetryPolicy says; what did not change
        meanwhile is not repeated. Leaving the loop early closes the stream. How a failed job
        failed, and what one that succeeded ended with, are told by `wait`.

        Example:
            >>> for info in job.events():
            ...     print(info.status, info.position, f"{info.progress:.0%}")

        Raises:
            NotFound: no such job, or its result was forgotten after its time to live.
            ConnectionFailed: the stream broke, and so did each of the policy's attempts.
            RequestTimeout: the server took the call and said nothing within the client's timeout.
        """
        with contextlib.closing(self._changes()) as changes:
            for reply in changes:
                yield reply.info

    def certificates(self) -> Generator[Certificate, None, None]:
        """Of a certification: ever better certificates as they are proven; the last is the answer.

        All but the last are without what proves them again. Otherwise as `events` and `wait`.
        """
        with contextlib.closing(self._changes()) as changes:
            for reply in changes:
                if reply.best is not None:
                    yield reply.best
        yield poll(self._send, self._clock, self._polls(None))

    def wait(self, timeout: float | None = None) -> T:
        """The solution or certificate, as soon as it is there.

        Args:
            timeout: seconds to wait for the job to end, None for as long as it takes. Each poll
                may in addition take the client's own timeout, should the network stall.

        Raises:
            RequestTimeout: the job had not ended in time; it goes on and can be waited for again.
            Cancelled: the job was cancelled.
            NotFound: no such job, or its result was forgotten after its time to live.
            ServerError: the job failed; the class says how.
        """
        answer: T = poll(self._send, self._clock, self._polls(timeout))
        return answer

    def cancel(self) -> JobStatus:
        """End the job; what the device is computing already is finished, unanswered.

        Returns:
            The status afterwards; `succeeded` or `failed` when the job had ended before.

        Raises:
            NotFound: no such job, or its result was forgotten after its time to live.
        """
        return read_job(self._send(build_cancel_job(self.id, self._timeout_s))).info.status

    def _changes(self) -> Generator[JobReply, None, None]:
        watch = _Watch(self.id, self._retry, self._timeout_s)
        while True:
            try:
                with contextlib.closing(self._stream(watch.next_call())) as replies:
                    for reply in replies:
                        if (change := watch.change(reply)) is not None:
                            yield change
                        if watch.ended:
                            return
                raise watch.cut_short()
            except CertisolveError as error:
                delay_s = watch.delay_after(error, random.random())
                if delay_s is None:
                    raise
            self._clock.sleep(delay_s)

    def _polls(self, wait_s: float | None) -> "Polls":
        return Polls(self.id, wait_s, self._timeout_s, self._clock.monotonic())


class AsyncJob(Generic[T]):
    """As `Job`, for `AsyncClient`.

    Attributes:
        id: names the job on the server.
    """

    def __init__(
        self,
        job_id: str,
        *,
        send: Callable[[Call], Awaitable[Reply]],
        stream: Callable[[Call], AsyncGenerator[Reply, None]],
        clock: Clock,
        retry: RetryPolicy,
        timeout_s: float | None,
    ) -> None:
        self.id = job_id
        self._send = send
        self._stream = stream
        self._clock = clock
        self._retry = retry
        self._timeout_s = timeout_s

    def __repr__(self) -> str:
        return f"AsyncJob({self.id!r})"

    async def state(self) -> JobInfo:
        """As `Job.state`."""
        return read_job(await self._send(build_job(self.id, 0.0, self._timeout_s))).info

    async def status(self) -> JobStatus:
        """As `Job.status`."""
        return (await self.state()).status

    async def events(self) -> AsyncGenerator[JobInfo, None]:
        """As `Job.events`, for `async for`.

        After an early end of the loop the event loop closes the stream when it next comes round;
        `contextlib.aclosing` closes it there and then.
        """
        async with contextlib.aclosing(self._changes()) as changes:
            async for reply in changes:
                yield reply.info

    async def certificates(self) -> AsyncGenerator[Certificate, None]:
        """As `Job.certificates`, for `async for`."""
        async with contextlib.aclosing(self._changes()) as changes:
            async for reply in changes:
                if reply.best is not None:
                    yield reply.best
        yield await apoll(self._send, self._clock, self._polls(None))

    async def wait(self, timeout: float | None = None) -> T:  # noqa: ASYNC109 - as `Job.wait`
        """As `Job.wait`."""
        answer: T = await apoll(self._send, self._clock, self._polls(timeout))
        return answer

    async def cancel(self) -> JobStatus:
        """As `Job.cancel`."""
        return read_job(await self._send(build_cancel_job(self.id, self._timeout_s))).info.status

    async def _changes(self) -> AsyncGenerator[JobReply, None]:
        watch = _Watch(self.id, self._retry, self._timeout_s)
        while True:
            try:
                async with contextlib.aclosing(self._stream(watch.next_call())) as replies:
                    async for reply in replies:
                        if (change := watch.change(reply)) is not None:
                            yield change
                        if watch.ended:
                            return
                raise watch.cut_short()
            except CertisolveError as error:
                delay_s = watch.delay_after(error, random.random())
                if delay_s is None:
                    raise
            await self._clock.asleep(delay_s)

    def _polls(self, wait_s: float | None) -> "Polls":
        return Polls(self.id, wait_s, self._timeout_s, self._clock.monotonic())


class Polls:
    """The long polls of one wait for a job.

    Args:
        job_id: of the job.
        wait_s: seconds to wait for it, None for as long as it takes.
        timeout_s: seconds that a poll may take beyond its wait; None for no limit.
        now: seconds of the clock that `next_call` and `pause_s` are told, too.
        exact: whether no poll may end later than `wait_s` from now, whatever the network does.
    """

    def __init__(
        self,
        job_id: str,
        wait_s: float | None,
        timeout_s: float | None,
        now: float,
        *,
        exact: bool = False,
    ) -> None:
        self._job_id = job_id
        self._timeout_s = math.inf if timeout_s is None else timeout_s
        self._waited_from = self._polled_at = now
        self._deadline = math.inf if wait_s is None else now + wait_s
        self._exact = exact

    def next_call(self, now: float) -> Call:
        """The next poll.

        Raises:
            RequestTimeout: `exact` leaves it no time.
        """
        self._polled_at = now
        left_s = max(0.0, self._deadline - now)
        if self._exact and not left_s:
            raise RequestTimeout(f"job {self._job_id}: no time is left to ask for it")
        wait_s = min(JOB_POLL_S, left_s)
        timeout_s = wait_s + self._timeout_s
        if self._exact:
            timeout_s = min(timeout_s, left_s)
        return build_job(self._job_id, wait_s, None if timeout_s == math.inf else timeout_s)

    def pause_s(self, info: JobInfo, now: float) -> float:
        """Seconds before the next poll; zero when the server did wait.

        Raises:
            RequestTimeout: the caller's time is up.
        """
        left_s = self._deadline - now
        if left_s <= 0:
            waited_s = now - self._waited_from
            raise RequestTimeout(f"job {info.id} is still {info.status} after {waited_s:.1f} s")
        return min(left_s, max(0.0, JOB_POLL_INTERVAL_S - (now - self._polled_at)))


def poll(send: Callable[[Call], Reply], clock: Clock, polls: Polls) -> Any:
    """What a job ends with, as soon as it is there; raises as `Job.wait`."""
    while True:
        reply = read_job(send(polls.next_call(clock.monotonic())))
        if reply.info.status.ended:
            return _result(reply)
        clock.sleep(polls.pause_s(reply.info, clock.monotonic()))


async def apoll(send: Callable[[Call], Awaitable[Reply]], clock: Clock, polls: Polls) -> Any:
    """As `poll`."""
    while True:
        reply = read_job(await send(polls.next_call(clock.monotonic())))
        if reply.info.status.ended:
            return _result(reply)
        await clock.asleep(polls.pause_s(reply.info, clock.monotonic()))


def draw_key() -> str:
    """A name for a submission that nobody else uses."""
    return uuid.uuid4().hex


def rest_of(call: Call, job: JobInfo, started_at: float, now: float) -> Polls:
    """The polls for a job that a solve without a limit of its own was answered with.

    Args:
        call: the solve.
        job: that it became, because it outlasted what the server waits.
        started_at: of the solve; seconds of the clock.
        now: of the same clock.
    """
    left_s = None if call.timeout_s is None else call.timeout_s - (now - started_at)
    return Polls(job.id, left_s, call.timeout_s, now, exact=True)


class _Watch:
    """The streams of one `events`, each going on where the last one broke."""

    def __init__(self, job_id: str, retry: RetryPolicy, timeout_s: float | None) -> None:
        self._call = build_watch_job(job_id, timeout_s)
        self._retry = retry
        self._last: JobInfo | None = None
        self._heard = False
        self._failed = 0

    @property
    def ended(self) -> bool:
        return self._last is not None and self._last.status.ended

    def next_call(self) -> Call:
        self._heard = False
        return self._call

    def change(self, reply: Reply) -> JobReply | None:
        """What the reply says; None when it is what the last one said, as after a reconnection."""
        change = read_job(reply)
        self._heard, self._failed = True, 0
        if change.info == self._last:
            return None
        self._last = change.info
        return change

    def cut_short(self) -> ConnectionFailed:
        return ConnectionFailed(f"job {self._call.job_id}: the stream ended before the job did")

    def delay_after(self, error: CertisolveError, uniform: float) -> float | None:
        """Seconds to wait before the next stream; None when `error` is final."""
        if isinstance(error, RequestTimeout) and self._heard:
            # It lasted as long as one stream may.
            return 0.0
        self._failed += 1
        return self._retry.delay(self._failed, error, uniform=uniform)


def _result(reply: JobReply) -> Answer:
    info = reply.info
    if reply.answer is not None:
        return reply.answer
    if info.status is JobStatus.CANCELLED:
        raise Cancelled("cancelled", f"job {info.id} was cancelled")
    if reply.problem is not None:
        raise reply.problem
    raise InvalidReply(f"job {info.id} {info.status} without a result or a problem")

"""Handles on work the server does in the background."""

import math
from collections.abc import Awaitable, Callable

from ._calls import Call, JobReply, Reply, build_cancel_job, build_job, read_job
from ._clock import Clock
from ._config import JOB_POLL_INTERVAL_S, JOB_POLL_S
from ._errors import Cancelled, InvalidReply, RequestTimeout
from ._results import JobStatus, Solution


class Job:
    """A solve that runs in the background; obtained from `Client.submit_solve` or `Client.job`.

    Attributes:
        id: names the job on the server; another process can re-attach with `Client.job(id)`.
    """

    def __init__(
        self, job_id: str, send: Callable[[Call], Reply], clock: Clock, timeout_s: float | None
    ) -> None:
        self.id = job_id
        self._send = send
        self._clock = clock
        self._timeout_s = timeout_s

    def __repr__(self) -> str:
        return f"Job({self.id!r})"

    def status(self) -> JobStatus:
        """Where the job stands now."""
        return read_job(self._send(build_job(self.id, 0.0, self._timeout_s))).status

    def wait(self, timeout: float | None = None) -> Solution:
        """The solution, as soon as it is there.

        Args:
            timeout: seconds to wait for the job to end, None for as long as it takes. Each poll
                may in addition take the client's own timeout, should the network stall.

        Raises:
            RequestTimeout: the job had not ended in time; it goes on and can be waited for again.
            Cancelled: the job was cancelled.
            ServerError: the job failed; the class says how.
        """
        polls = _Polls(self.id, timeout, self._timeout_s, self._clock.monotonic())
        while True:
            reply = read_job(self._send(polls.next_call(self._clock.monotonic())))
            if reply.status.ended:
                return _result(reply)
            self._clock.sleep(polls.pause_s(reply, self._clock.monotonic()))

    def cancel(self) -> JobStatus:
        """End the job; what the device is computing already is finished, unanswered.

        Returns:
            The status afterwards; `succeeded` or `failed` when the job had ended before.
        """
        return read_job(self._send(build_cancel_job(self.id, self._timeout_s))).status


class AsyncJob:
    """As `Job`, for `AsyncClient`.

    Attributes:
        id: names the job on the server.
    """

    def __init__(
        self,
        job_id: str,
        send: Callable[[Call], Awaitable[Reply]],
        clock: Clock,
        timeout_s: float | None,
    ) -> None:
        self.id = job_id
        self._send = send
        self._clock = clock
        self._timeout_s = timeout_s

    def __repr__(self) -> str:
        return f"AsyncJob({self.id!r})"

    async def status(self) -> JobStatus:
        """As `Job.status`."""
        return read_job(await self._send(build_job(self.id, 0.0, self._timeout_s))).status

    async def wait(self, timeout: float | None = None) -> Solution:  # noqa: ASYNC109 - as `Job.wait`
        """As `Job.wait`."""
        polls = _Polls(self.id, timeout, self._timeout_s, self._clock.monotonic())
        while True:
            reply = read_job(await self._send(polls.next_call(self._clock.monotonic())))
            if reply.status.ended:
                return _result(reply)
            await self._clock.asleep(polls.pause_s(reply, self._clock.monotonic()))

    async def cancel(self) -> JobStatus:
        """As `Job.cancel`."""
        return read_job(await self._send(build_cancel_job(self.id, self._timeout_s))).status


class _Polls:
    """The long polls of one wait."""

    def __init__(
        self, job_id: str, wait_s: float | None, timeout_s: float | None, now: float
    ) -> None:
        self._job_id = job_id
        self._timeout_s = timeout_s
        self._waited_from = self._polled_at = now
        self._deadline = math.inf if wait_s is None else now + wait_s

    def next_call(self, now: float) -> Call:
        self._polled_at = now
        wait_s = max(0.0, min(JOB_POLL_S, self._deadline - now))
        return build_job(self._job_id, wait_s, self._timeout_s)

    def pause_s(self, reply: JobReply, now: float) -> float:
        """Seconds before the next poll; zero when the server did wait.

        Raises:
            RequestTimeout: the caller's time is up.
        """
        left_s = self._deadline - now
        if left_s <= 0:
            waited_s = now - self._waited_from
            raise RequestTimeout(f"job {reply.id} is still {reply.status} after {waited_s:.1f} s")
        return min(left_s, max(0.0, JOB_POLL_INTERVAL_S - (now - self._polled_at)))


def _result(reply: JobReply) -> Solution:
    if reply.solution is not None:
        return reply.solution
    if reply.status is JobStatus.CANCELLED:
        raise Cancelled("cancelled", f"job {reply.id} was cancelled")
    if reply.problem is not None:
        raise reply.problem
    raise InvalidReply(f"job {reply.id} {reply.status} without a result or a problem")

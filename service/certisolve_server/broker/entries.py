"""A job in the memory broker, from its acceptance to its end."""

import asyncio
import contextlib

from certisolve_server.jobs import Frame, JobState, SolveJob, Timeline

from .base import Claim
from .fair_queue import Standing, Ticket
from .frames import FrameStream

_NEVER = float("inf")


class Entry:
    """A job that was accepted.

    Attributes:
        held_under: the token of its worker; None while it is in line.
        lease_until: Unix seconds after which its worker counts as dead; never while in line.
        num_deaths: times it was running when its worker died.
        progress: share of the work that its worker has done, 0 to 1.
        latest: the newest frame told since it is kept; None if none.
        stream: where its frames go; None for a job that is not streamed.
        ended: its final state; None while it has none.
    """

    __slots__ = (
        "_claimed_at", "_started_at", "_waiting_for_change", "_waiting_for_end", "ended",
        "held_under", "job", "keep_result", "latest", "lease_until", "num_bytes", "num_deaths",
        "progress", "stream", "ticket", "token",
    )  # fmt: skip

    def __init__(
        self, job: SolveJob, num_bytes: int, keep_result: bool, ticket: Ticket, token: int = 0
    ) -> None:
        self.job = job
        self.num_bytes = num_bytes
        self.keep_result = keep_result
        self.ticket = ticket
        self.token = token
        self.held_under: int | None = None
        self.lease_until = _NEVER
        self.num_deaths = 0
        self.progress = 0.0
        self.latest: Frame | None = None
        self.stream = FrameStream(job) if job.work.stream and not keep_result else None
        self.ended: JobState | None = None
        self._claimed_at: float | None = None
        self._started_at: float | None = None
        self._waiting_for_end: list[asyncio.Future[None]] = []
        self._waiting_for_change: list[asyncio.Future[None]] = []

    @property
    def status(self) -> str:
        """As in `JobState`; queued as long as it has not started."""
        if self.ended is not None:
            return self.ended.status
        return "queued" if self._started_at is None else "running"

    @property
    def timeline(self) -> Timeline:
        """When it reached each stage, this time."""
        return Timeline(self.job.submitted_at, self._claimed_at, self._started_at)

    def claim(self, now: float, lease_until: float, *, start: bool) -> Claim:
        """Put the job into a worker's hands, under a new token."""
        self.token += 1
        self.held_under = self.token
        self.lease_until = lease_until
        self._claimed_at = now
        if start:
            self.start(now)
        suspect = self.ticket.standing is Standing.SUSPECT
        return Claim(self.job, self.token, suspect, start)

    def start(self, now: float) -> None:
        """Count as running; it may already."""
        if self._started_at is None:
            self._started_at = now
            if self._waiting_for_change:
                _wake(self._waiting_for_change)

    def blame(self) -> None:
        """Remember that its worker died."""
        if self._started_at is not None:
            self.num_deaths += 1
            self.ticket.standing = Standing.SUSPECT

    def hand_back(self) -> None:
        """Count as queued again; no token holds it."""
        if self.ticket.standing is Standing.NEW:
            self.ticket.standing = Standing.AGAIN
        self.held_under, self.lease_until = None, _NEVER
        self._claimed_at = self._started_at = None
        self.progress = 0.0
        self.latest = None
        _wake(self._waiting_for_change)

    def finish(self, state: JobState) -> None:
        """Tell whoever waits how it ended."""
        self.ended = state
        if self.stream is not None:
            self.stream.end(state)
        for waiting in (self._waiting_for_end, self._waiting_for_change):
            if waiting:
                _wake(waiting)

    async def end(self) -> JobState:
        """The final state, as soon as there is one."""
        while self.ended is None:
            await _wait(self._waiting_for_end)
        return self.ended

    async def change(self, wait_s: float, unlike: str | None) -> None:
        """Wait until the status differs from `unlike`, by default until it is final."""
        waiting = self._waiting_for_end if unlike is None else self._waiting_for_change
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                while self.ended is None and unlike in (None, self.status):
                    await _wait(waiting)


async def _wait(waiting: list["asyncio.Future[None]"]) -> None:
    # A future each: one that goes away must not take the news from the others.
    future = asyncio.get_running_loop().create_future()
    waiting.append(future)
    try:
        await future
    finally:
        if future in waiting:
            waiting.remove(future)


def _wake(waiting: list["asyncio.Future[None]"]) -> None:
    for future in waiting:
        if not future.done():
            future.set_result(None)
    waiting.clear()

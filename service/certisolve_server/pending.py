"""A job that somebody waits for: for how long, and what becomes of it when nobody does any more."""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass

from .broker import AbstractBroker
from .errors import DeadlineExceeded, QueueUnavailable, ServingError, UnknownJob
from .jobs import JobState, Outcome
from .telemetry import Metrics


@dataclass(frozen=True, slots=True)
class Pending:
    """A job, and who waits for it.

    Attributes:
        id: of the job.
        broker: that has it.
        asked_at: Unix seconds.
        deadline: of who waits, which need not be that of the job; None for none.
        metrics: where deadlines that were missed are counted.
        clock: Unix seconds.
        shared: others may wait for it too.
    """

    id: str
    broker: AbstractBroker
    asked_at: float
    deadline: float | None
    metrics: Metrics
    clock: Callable[[], float]
    shared: bool = False

    async def outcome(self, wait_s: float | None) -> Outcome | None:
        """The answer; None after `wait_s` seconds without one.

        Cancelling the call cancels the job.

        Raises:
            ServingError: the job failed, or the deadline passed.
        """
        left_s = self.left_s()
        deadline_first = left_s is not None and (wait_s is None or left_s <= wait_s)
        try:
            async with asyncio.timeout(left_s if deadline_first else wait_s):
                return await self.broker.result(self.id)
        except TimeoutError as error:
            if deadline_first:
                raise await self.given_up() from error
            return None
        except asyncio.CancelledError:
            await self.abandon()
            raise

    def left_s(self) -> float | None:
        """Seconds until the deadline; None for as long as it takes."""
        return None if self.deadline is None else self.deadline - self.clock()

    async def given_up(self) -> ServingError:
        """Give the job up; why it was not answered in time."""
        now = self.clock()
        state = await self.state()
        await self.abandon()
        if state is not None and state.error is not None:
            return state.error
        self.metrics.deadline_missed(_stage(state))
        account = state.timeline.account(now) if state and state.timeline else "time unknown"
        waited_s = now - self.asked_at
        return DeadlineExceeded(f"no answer after {waited_s:.3f} s; the job spent: {account}")

    async def state(self) -> JobState | None:
        """Where the job stands; None where that cannot be found out."""
        try:
            return await self.broker.state(self.id)
        except (QueueUnavailable, UnknownJob):
            return None

    async def abandon(self) -> None:
        """Cancel the job, unless somebody else may wait for it too."""
        if not self.shared:
            with contextlib.suppress(QueueUnavailable, UnknownJob):
                await self.broker.cancel(self.id)


def _stage(state: JobState | None) -> str:
    if state is None or state.ended:
        return "reply"
    timeline = state.timeline
    if timeline is None or timeline.claimed_at is None:
        return "queue"
    return "device" if timeline.started_at is None else "running"

"""A broker that can be out of reach, and that is seen at work."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from types import TracebackType
from typing import Self

from certisolve_server.broker import (
    NO_PROGRESS,
    AbstractBroker,
    Capacity,
    Claim,
    DeadLetter,
    Depth,
    Idempotency,
    Reaped,
)
from certisolve_server.errors import QueueFull, QueueUnavailable, ServingError
from certisolve_server.jobs import Frame, JobState, Outcome, Pool, SolveJob


class RemoteBroker(AbstractBroker):
    """Another broker, at the far end of a connection.

    While it is cut, a worker's calls are refused; reports of ends alone wait for it to come back,
    as they must not be lost.

    Arguments:
        broker: at the far end.
    """

    def __init__(self, broker: AbstractBroker) -> None:
        self._broker = broker
        self._connected = asyncio.Event()
        self._connected.set()
        self._hears = asyncio.Event()
        self._hears.set()
        self.num_starts = 0
        self.num_refusals = 0
        self._beat = asyncio.Event()

    def cut(self) -> None:
        self._connected.clear()
        self._hears.clear()

    def deafen(self) -> None:
        """Hand out jobs, but take no reports."""
        self._hears.clear()

    def mend(self) -> None:
        self._connected.set()
        self._hears.set()

    async def beats(self, count: int) -> None:
        """Wait for signs of life of the worker."""
        for _ in range(count):
            self._beat.clear()
            await self._beat.wait()

    async def claim(self, capacity: Capacity, *, start: bool = False) -> Sequence[Claim]:
        self._check()
        return await self._broker.claim(capacity, start=start)

    async def start(self, claims: Sequence[Claim]) -> Sequence[Claim]:
        self._check()
        self.num_starts += 1
        return await self._broker.start(claims)

    async def renew(
        self, claims: Sequence[Claim], progress: Mapping[str, float] = NO_PROGRESS
    ) -> Sequence[Claim]:
        self._check()
        return await self._broker.renew(claims, progress)

    async def cancelled(self, pool: Pool = "device") -> Sequence[str]:
        self._check()
        return await self._broker.cancelled(pool)

    async def publish(self, frames: Sequence[tuple[Claim, Frame]]) -> None:
        self._check()
        await self._broker.publish(frames)

    async def reap(self) -> Reaped:
        self._check()
        self._beat.set()
        return await self._broker.reap()

    async def complete(self, answers: Sequence[tuple[Claim, Outcome]]) -> int:
        await self._hears.wait()
        return await self._broker.complete(answers)

    async def fail(self, claim: Claim, error: ServingError) -> bool:
        await self._hears.wait()
        return await self._broker.fail(claim, error)

    async def release(self, claims: Sequence[Claim]) -> None:
        self._check()
        await self._broker.release(claims)

    async def submit(
        self, job: SolveJob, *, keep_result: bool, idempotency: Idempotency | None = None
    ) -> str:
        return await self._broker.submit(job, keep_result=keep_result, idempotency=idempotency)

    async def result(self, job_id: str) -> Outcome:
        return await self._broker.result(job_id)

    def frames(self, job_id: str) -> AsyncIterator[Frame]:
        return self._broker.frames(job_id)

    async def state(
        self, job_id: str, *, wait_s: float = 0.0, unlike: str | None = None
    ) -> JobState:
        return await self._broker.state(job_id, wait_s=wait_s, unlike=unlike)

    async def cancel(self, job_id: str) -> JobState:
        return await self._broker.cancel(job_id)

    async def keep(self, job_id: str) -> bool:
        return await self._broker.keep(job_id)

    async def depth(self) -> Depth:
        return await self._broker.depth()

    @property
    def fault(self) -> str | None:
        return None if self._connected.is_set() else "the connection is cut"

    def pressure(self) -> QueueFull | None:
        return self._broker.pressure()

    async def dead_letters(self) -> Sequence[DeadLetter]:
        return await self._broker.dead_letters()

    async def replay(self, job_id: str) -> bool:
        return await self._broker.replay(job_id)

    async def purge(self, job_id: str | None = None) -> int:
        return await self._broker.purge(job_id)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pass

    def _check(self) -> None:
        if not self._connected.is_set():
            self.num_refusals += 1
            raise QueueUnavailable("the connection is cut")

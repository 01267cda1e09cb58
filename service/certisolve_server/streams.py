"""A solve whose frames are told as they are computed."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Self

from .errors import ErrorCode, ServingError
from .jobs import Artifact, Frame, Outcome, SolveJob
from .parts import Part, frame_of, start_of
from .pending import Pending
from .solutions import summary_of
from .telemetry import Metrics


class SolveStream(AsyncIterator[Part]):
    """The parts of a solution: a start, then frames as they come, last the summary.

    Whoever is done with it closes it (`contextlib.aclosing`): that cancels the job, unless it
    has ended. Reading slowly holds up nobody: what was not read yet is kept within the bounds of
    the queue.

    Arguments:
        job: that was submitted.
        pending: the wait for it.
        artifact: that the job was admitted for.
        patience_s: longest wait for the next frame where there is no deadline.
        metrics: where the end of the stream is counted.

    Raises:
        ServingError: while it is read: the job failed, or no frame came in time.
    """

    def __init__(
        self,
        job: SolveJob,
        pending: Pending,
        artifact: Artifact,
        *,
        patience_s: float,
        metrics: Metrics,
    ) -> None:
        self._job = job
        self._pending = pending
        self._artifact = artifact
        self._patience_s = patience_s
        self._metrics = metrics
        self._parts = self._tell()
        self._ended = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Part:
        return await anext(self._parts)

    async def aclose(self) -> None:
        """Cancel the job, unless it has ended."""
        await self._parts.aclose()
        if not self._ended:
            self._end(ErrorCode.CANCELLED)
            await self._pending.abandon()

    async def _tell(self) -> AsyncGenerator[Part, None]:
        try:
            yield start_of(self._job.context, self._artifact)
            async for frame in self._frames():
                yield frame_of(frame, self._job.context, self._artifact.manifest)
            summary = summary_of(await self._outcome(), self._artifact)
        except ServingError as error:
            self._end(error.code)
            raise
        self._end("ok")
        yield summary

    async def _frames(self) -> AsyncGenerator[Frame, None]:
        told = self._pending.broker.frames(self._job.id)
        while True:
            try:
                async with asyncio.timeout(self._limit_s()):
                    frame = await anext(told, None)
            except TimeoutError as error:
                raise await self._pending.given_up() from error
            if frame is None:
                return
            yield frame

    async def _outcome(self) -> Outcome:
        # It is there: frames end with the job.
        outcome = await self._pending.outcome(self._patience_s)
        if outcome is None:
            raise await self._pending.given_up()
        return outcome

    def _limit_s(self) -> float:
        left_s = self._pending.left_s()
        return self._patience_s if left_s is None else left_s

    def _end(self, result: str) -> None:
        self._ended = True
        self._metrics.request_done(self._job.model.name, result)

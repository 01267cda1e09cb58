"""Frames of one job on their way to whoever reads them."""

import asyncio
from collections.abc import AsyncIterator, Iterator

from certisolve_server.jobs import Frame, JobState, Outcome, SolveJob


class FrameStream:
    """The frames of a streamed job: each once and in order, however they come.

    Frames may come twice, from a worker and from the one that took the job over, or never: one
    that is missing holds back those after it until it comes, or until the job has ended. The
    answer has them all, so from then on it is what they are taken from, and nothing else is held.

    One reader; belongs to one event loop.

    Arguments:
        job: whose.

    Attributes:
        ended: whether the job has.
        state: how it ended; None before that, and where the answer is kept elsewhere.
    """

    def __init__(self, job: SolveJob) -> None:
        self.ended = False
        self.state: JobState | None = None
        self._advances = bool(job.work.steps or job.work.t)
        self._next = 0
        self._held: dict[int, Frame] = {}
        self._news = asyncio.Event()

    def put(self, frame: Frame) -> None:
        """Take in a frame, unless it was here before."""
        if self.ended or frame.index < self._next:
            return
        self._held.setdefault(frame.index, frame)
        if frame.index == self._next:
            self._news.set()

    def end(self, state: JobState | None) -> None:
        """Take in how the job ended; None if the answer is kept elsewhere."""
        self.ended, self.state = True, state
        if state is None or state.status != "failed":
            self._held.clear()
        self._news.set()

    async def told(self) -> AsyncIterator[Frame]:
        """Frames as they come; stops where the job has ended and none is held."""
        while True:
            frame = self._held.pop(self._next, None)
            if frame is not None:
                self._next += 1
                yield frame
            elif self.ended:
                return
            else:
                self._news.clear()
                await self._news.wait()

    def rest(self, outcome: Outcome | None) -> Iterator[Frame]:
        """Frames that were not told, as views of the answer; none without one."""
        if outcome is None:
            return
        for frame in self._frames(outcome):
            if frame.index == self._next:
                self._next += 1
                yield frame

    def _frames(self, outcome: Outcome) -> Iterator[Frame]:
        times = outcome.context.t if outcome.t is None else outcome.t
        if not self._advances:
            yield Frame(0, times[-1] if times else 0.0, outcome.outputs)
            return
        for index, (t, *rows) in enumerate(zip(times, *outcome.outputs, strict=True)):
            yield Frame(index, t, tuple(rows))

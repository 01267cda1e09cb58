"""News of jobs that left the hands of the one worker of a process."""

import asyncio
from collections.abc import Iterable, Sequence

# Where nobody takes them; a worker that missed one hears of it when it renews the lease.
_MAX_LOSSES = 4096


class Losses:
    """Jobs that were cancelled or taken from the worker, until it takes notice."""

    def __init__(self) -> None:
        # A dictionary for its order; the values mean nothing.
        self._lost: dict[str, None] = {}
        self._news = asyncio.Event()

    def put(self, job_id: str) -> None:
        """A job was lost."""
        self._lost[job_id] = None
        if len(self._lost) > _MAX_LOSSES:
            del self._lost[next(iter(self._lost))]
        self._news.set()

    def regain(self, job_ids: Iterable[str]) -> None:
        """Jobs came back to the worker, lost or not."""
        if self._lost:
            for job_id in job_ids:
                self._lost.pop(job_id, None)

    async def take(self) -> Sequence[str]:
        """What was lost since the last time, as soon as there is any."""
        while not self._lost:
            self._news.clear()
            await self._news.wait()
        lost, self._lost = list(self._lost), {}
        return lost

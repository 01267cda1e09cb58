"""Submissions on their way to Redis: those that meet during one round share the next."""

import asyncio
import time
from collections import deque
from typing import Any, NamedTuple

from certisolve_server.errors import QueueFull, QueueUnavailable, ServingError

from .connection import Connection, timed_out
from .records import RECORD

_MAX_JOBS = 64
_MAX_BYTES = 8 << 20
#: How long a refusal is believed without asking again.
_PRESSURE_S = 0.05
_RETRY_AFTER_S = 0.05
# No caller is asked to come back sooner than this, however short the line.
_MIN_RETRY_AFTER_S = 0.1


class Outbox:
    """Sends submissions in rounds.

    Arguments:
        connection: to Redis.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._waiting: deque[_Submission] = deque()
        self._arrival = asyncio.Event()
        self._full: QueueFull | None = None
        self._full_until = 0.0

    def post(self, values: tuple[Any, ...]) -> "asyncio.Future[list[Any]]":
        """Send one job's values; what `submit.lua` replies to them, not yet read.

        The future fails with QueueUnavailable when Redis is out of reach: the job may have been
        taken. It is not to be cancelled: what was posted will be sent.
        """
        future: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Submission(values, future))
        self._arrival.set()
        return future

    def read(self, reply: list[Any]) -> list[Any]:
        """A reply, if the job was not refused for want of room.

        Raises:
            QueueFull: it was.
        """
        if reply[0] == b"full":
            raise self._refused(reply[1].decode(), float(reply[2]))
        return reply

    def pressure(self) -> QueueFull | None:
        """The last refusal, while it is fresh."""
        return self._full if time.monotonic() < self._full_until else None

    async def run(self) -> None:
        """Send until cancelled."""
        while True:
            await self._arrival.wait()
            self._arrival.clear()
            while self._waiting:
                await self._send(self._next_round())

    def _next_round(self) -> list["_Submission"]:
        batch, num_bytes = [self._waiting.popleft()], 0
        while self._waiting and len(batch) < _MAX_JOBS and num_bytes < _MAX_BYTES:
            batch.append(self._waiting.popleft())
            num_bytes += len(batch[-1].values[RECORD])
        return batch

    async def _send(self, batch: list["_Submission"]) -> None:
        values = [value for submission in batch for value in submission.values]
        try:
            replies = await self._run(values)
        except ServingError as error:
            for submission in batch:
                submission.settle(error)
            return
        for submission, reply in zip(batch, replies, strict=True):
            submission.settle(reply)

    async def _run(self, values: list[Any]) -> Any:
        try:
            return await self._connection.run("submit", *values)
        except QueueUnavailable as error:
            if timed_out(error):
                raise
            # The connection may have died with a Redis that is back already, and a job that was
            # taken is found again by its id.
            await asyncio.sleep(_RETRY_AFTER_S)
            return await self._connection.run("submit", *values)

    def _refused(self, what: str, expected_s: float) -> QueueFull:
        self._full = QueueFull(what, retry_after_s=max(expected_s, _MIN_RETRY_AFTER_S))
        self._full_until = time.monotonic() + _PRESSURE_S
        return self._full


class _Submission(NamedTuple):
    values: tuple[Any, ...]
    future: "asyncio.Future[list[Any]]"

    def settle(self, reply: list[Any] | ServingError) -> None:
        if isinstance(reply, ServingError):
            self.future.set_exception(reply)
        else:
            self.future.set_result(reply)

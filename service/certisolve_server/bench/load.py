"""The two loops: N users who wait for their answers, and users who arrive when they arrive."""

import asyncio
import contextlib
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .door import AbstractConnection, AbstractDoor, Answer
from .measurement import Measurement
from .pacer import paced

#: Called with the number of answers so far.
OnProgress = Callable[[int], None]

#: Code of what was sent, or was due, and had no answer at the end.
UNANSWERED = "unanswered"


@dataclass(frozen=True, slots=True)
class Bounds:
    """When a run ends, whatever the server does.

    Attributes:
        duration_s: seconds during which requests are sent.
        max_requests: most requests sent.
        grace_s: seconds the last answers may take; what is missing then counts as `unanswered`.
    """

    duration_s: float
    max_requests: int
    grace_s: float = 10.0


async def closed_loop(
    door: AbstractDoor,
    requests: Sequence[bytes],
    num_connections: int,
    bounds: Bounds,
    on_progress: OnProgress | None = None,
) -> Measurement:
    """Capacity: every connection sends its next request when the last one is answered.

    Args:
        door: where to.
        requests: prepared bodies, sent in turn.
        num_connections: requests under way at once.
        bounds: when to stop.
        on_progress: called now and then.

    Raises:
        OSError: nobody listens.
    """
    run = _Run(bounds, on_progress)
    connections = [await door.connect() for _ in range(num_connections)]
    turns = itertools.islice(itertools.cycle(requests), bounds.max_requests)
    try:
        run.start()
        users = [asyncio.create_task(_user(c, turns, run)) for c in connections]
        await run.finish(users)
    finally:
        await _close(connections)
    return run.measurement


async def open_loop(
    door: AbstractDoor,
    requests: Sequence[bytes],
    due_s: NDArray[np.float64],
    num_connections: int,
    bounds: Bounds,
    on_progress: OnProgress | None = None,
) -> Measurement:
    """Latency: requests are sent when they are due, whether or not earlier ones were answered.

    A latency runs from the time the request was due, so that waiting for a free connection or for
    this process to get round to it counts.

    Args:
        door: where to.
        requests: prepared bodies, sent in turn.
        due_s: due times in seconds from the start, ascending.
        num_connections: most requests under way at once.
        bounds: when to stop.
        on_progress: called now and then.

    Raises:
        OSError: nobody listens.
    """
    run = _Run(bounds, on_progress)
    connections = [await door.connect() for _ in range(num_connections)]
    idle = asyncio.LifoQueue[AbstractConnection]()
    for connection in connections:
        idle.put_nowait(connection)
    try:
        run.start()
        due_at = (run.started_at + due_s[: bounds.max_requests]).tolist()
        run.num_due = len(due_at)
        await run.finish([asyncio.create_task(_arrivals(due_at, requests, idle, run))])
    finally:
        await _close(connections)
    return run.measurement


class _Run:
    """A measurement under way, with its clock and its end."""

    def __init__(self, bounds: Bounds, on_progress: OnProgress | None) -> None:
        self.measurement = Measurement()
        # Not the loop's clock, which may count in milliseconds.
        self.now = time.perf_counter
        self.started_at = 0.0
        self.num_due = 0
        self._bounds = bounds
        self._on_progress = on_progress
        self._last_answer_at = 0.0

    def start(self) -> None:
        self.started_at = self._last_answer_at = self.now()

    @property
    def over(self) -> bool:
        """Whether no more requests are to be sent."""
        return self.now() - self.started_at >= self._bounds.duration_s

    async def send(self, connection: AbstractConnection, request: bytes, due_at: float) -> Answer:
        answer = await connection.send(request)
        self._last_answer_at = self.now()
        self.measurement.add(answer, self._last_answer_at - due_at)
        return answer

    async def finish(self, tasks: Sequence[asyncio.Task[None]]) -> None:
        """Wait for the tasks, not for ever, and settle the account."""
        limit_s = self._bounds.duration_s + self._bounds.grace_s
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit_s), asyncio.TaskGroup() as group:
                ticking = group.create_task(self._tick())
                await asyncio.gather(*tasks)
                ticking.cancel()
        missing = self.num_due - self.measurement.codes.total()
        if missing:
            self.measurement.codes[UNANSWERED] = missing
        end = self.now() if missing else self._last_answer_at
        self.measurement.duration_s = end - self.started_at

    async def _tick(self) -> None:
        while self._on_progress is not None:
            self._on_progress(self.measurement.codes.total())
            await asyncio.sleep(0.1)


async def _user(connection: AbstractConnection, turns: Iterator[bytes], run: _Run) -> None:
    for request in turns:
        run.num_due += 1
        answer = await run.send(connection, request, run.now())
        if run.over or answer.code == "connection_failed":
            return


async def _arrivals(
    due_at: Sequence[float],
    requests: Sequence[bytes],
    idle: asyncio.LifoQueue[AbstractConnection],
    run: _Run,
) -> None:
    async with paced(due_at) as due, asyncio.TaskGroup() as group:
        for request in itertools.cycle(requests):
            now_due = await due.get()
            if now_due is None:
                return
            group.create_task(_one(await idle.get(), request, now_due, idle, run))


async def _one(
    connection: AbstractConnection,
    request: bytes,
    due_at: float,
    idle: asyncio.LifoQueue[AbstractConnection],
    run: _Run,
) -> None:
    await run.send(connection, request, due_at)
    idle.put_nowait(connection)


async def _close(connections: Sequence[AbstractConnection]) -> None:
    for connection in connections:
        await connection.aclose()

"""Wakes an event loop at given times, finer than its own timers, which round to milliseconds."""

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence


@contextlib.asynccontextmanager
async def paced(due_at: Sequence[float]) -> AsyncIterator[asyncio.Queue[float | None]]:
    """A queue into which each due time is put when it has come, and None after the last.

    Args:
        due_at: ascending, on the clock of `time.perf_counter`.
    """
    queue = asyncio.Queue[float | None]()
    stop = threading.Event()
    loop = asyncio.get_running_loop()
    thread = threading.Thread(
        target=_sleep_and_put, args=(due_at, loop, queue, stop), name="pacer", daemon=True
    )
    thread.start()
    try:
        yield queue
    finally:
        stop.set()
        await asyncio.to_thread(thread.join)


def _sleep_and_put(
    due_at: Sequence[float],
    loop: asyncio.AbstractEventLoop,
    queue: asyncio.Queue[float | None],
    stop: threading.Event,
) -> None:
    for due in _as_they_come(due_at, stop):
        loop.call_soon_threadsafe(queue.put_nowait, due)
    loop.call_soon_threadsafe(queue.put_nowait, None)


def _as_they_come(due_at: Sequence[float], stop: threading.Event) -> Iterator[float]:
    for due in due_at:
        delay_s = due - time.perf_counter()
        if delay_s > 0 and stop.wait(delay_s):
            return
        yield due

"""A limit on how long a blocking stream may say nothing."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator


class SilenceLimit:
    """Cancels a stream that keeps its reader waiting; use as a context around all of it.

    For streams whose `next` takes no time limit. A thread looks once per limit, or when the limit
    of a wait that goes on is over; it costs nothing per message.

    Arguments:
        limit_s: longest wait; None for no limit.
        cancel: ends the stream, from any thread.

    Attributes:
        exceeded: whether the stream was cancelled here.
    """

    def __init__(self, limit_s: float | None, cancel: Callable[[], object]) -> None:
        self.exceeded = False
        self._limit_s = limit_s
        self._cancel = cancel
        self._waiting_since: float | None = None
        self._over = threading.Event()

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Look at the stream meanwhile."""
        if self._limit_s is None:
            yield
            return
        thread = threading.Thread(target=self._look, args=(self._limit_s,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """A wait for the next message."""
        self._waiting_since = time.monotonic()
        try:
            yield
        finally:
            self._waiting_since = None

    def _look(self, limit_s: float) -> None:
        pause_s = limit_s
        while not self._over.wait(pause_s):
            since = self._waiting_since
            waited_s = 0.0 if since is None else time.monotonic() - since
            if waited_s >= limit_s:
                self.exceeded = True
                self._cancel()
                return
            pause_s = limit_s - waited_s

"""An end to work that does not look at the clock itself."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNAL = signal.SIGUSR1


class OutOfTime(BaseException):
    """The time is over; no error, so that nobody takes it for one of theirs."""


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raise in the main thread, which this is for, once the time is over.

    A single operation of a library is finished first.

    Raises:
        OutOfTime: anywhere in the context.
    """
    limit = _Limit()
    # Left in place: a signal on its way would end the process.
    signal.signal(_SIGNAL, limit.reached)
    timer = threading.Timer(seconds, limit.reach)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        limit.holds = False
        timer.cancel()


class _Limit:
    def __init__(self) -> None:
        self.holds = True

    def reach(self) -> None:
        """Called by the timer, in a thread of its own."""
        if self.holds:
            signal.pthread_kill(threading.main_thread().ident or 0, _SIGNAL)

    def reached(self, number: int, frame: FrameType | None) -> None:
        """Called in the main thread."""
        del number, frame
        if self.holds:
            self.holds = False
            raise OutOfTime

"""An end to work that does not look at the clock itself."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNAL = signal.SIGUSR1
#: A timer may be this early.
_EARLY_S = 1e-3


class Limit:
    """A time until which work may go on."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    @property
    def is_over(self) -> bool:
        """Whether it has passed."""
        return time.monotonic() >= self._end - _EARLY_S


class OutOfTime(BaseException):
    """A time is over; no error, so that nobody takes it for one of theirs.

    Attributes:
        limit: which one.
    """

    def __init__(self, limit: Limit) -> None:
        super().__init__()
        self.limit = limit


class Limits:
    """Limits of time, one within the other, of what the main thread does; one of these at a time.

    A single operation of a library is finished before it is interrupted.
    """

    def __init__(self) -> None:
        self._limits: list[Limit] = []
        # Left in place: a signal that is on its way would end the process.
        signal.signal(_SIGNAL, self._reached)

    @contextmanager
    def hold(self, seconds: float) -> Iterator[Limit]:
        """Interrupt what runs in the context once the time is over.

        Raises:
            OutOfTime: anywhere in the context, by this limit or by one around it.
        """
        limit = Limit(seconds)
        timer = threading.Timer(seconds, _interrupt_main)
        timer.daemon = True
        self._limits.append(limit)
        timer.start()
        try:
            yield limit
        finally:
            timer.cancel()
            if limit in self._limits:
                self._limits.remove(limit)

    def _reached(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        for limit in tuple(self._limits):
            if limit.is_over:
                # Once: whoever it interrupts may be about to leave its context.
                self._limits.remove(limit)
                raise OutOfTime(limit)


def _interrupt_main() -> None:
    signal.pthread_kill(threading.main_thread().ident or 0, _SIGNAL)

"""Tells the newest certificate now and then, while the search goes on."""

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Generic, Self, TypeVar

T = TypeVar("T")
#: Between two things told.
_PAUSE_S = 0.1


class Teller(Generic[T]):
    """A thread that tells the newest of what it is given, and passes over what is outdated.

    Use as a context; on leaving, what was not told yet is not told any more.

    Arguments:
        tell: called in the thread.
        pause_s: between two calls.
    """

    def __init__(self, tell: Callable[[T], None], pause_s: float = _PAUSE_S) -> None:
        self._tell = tell
        self._pause_s = pause_s
        self._newest: T | None = None
        self._news = threading.Condition()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def put(self, value: T) -> None:
        """Tell a value soon, unless a newer one comes first."""
        with self._news:
            self._newest = value
            self._news.notify()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closed.set()
        with self._news:
            self._newest = None
            self._news.notify()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._news:
                while self._newest is None and not self._closed.is_set():
                    self._news.wait()
                value, self._newest = self._newest, None
            if value is None:
                return
            self._tell(value)
            self._closed.wait(self._pause_s)

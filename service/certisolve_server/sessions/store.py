"""Where sessions are kept between calls; the same cases in tests/contract run over every store."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

from certisolve_server.errors import SessionConflict, SessionsFull, UnknownSession


class Record(NamedTuple):
    """A session as it is kept.

    Attributes:
        sequence: how often it was replaced.
        data: its snapshot.
    """

    sequence: int
    data: bytes


class AbstractSessionStore(ABC):
    """Sessions by id, each for its time to live after the last call, all within a bound of bytes.

    A change names the sequence that it was made from: of two that were made from the same, the
    first counts and the other is told.
    """

    @abstractmethod
    async def create(self, session_id: str, data: bytes, ttl_s: float) -> None:
        """Keep a new session, of sequence 0.

        Raises:
            SessionsFull: no room; `retry_after_s` is when the next one is forgotten.
            QueueUnavailable: out of reach.
        """

    @abstractmethod
    async def read(self, session_id: str) -> Record:
        """A session; its time to live begins anew.

        Raises:
            UnknownSession: never opened, closed, or forgotten.
            QueueUnavailable: out of reach.
        """

    @abstractmethod
    async def replace(self, session_id: str, sequence: int, data: bytes) -> None:
        """Put `data` in the place of the record of `sequence`; its time to live begins anew.

        Raises:
            UnknownSession: never opened, closed, or forgotten.
            SessionConflict: somebody else has changed it.
            SessionsFull: no room for what it has grown by.
            QueueUnavailable: out of reach.
        """

    @abstractmethod
    async def delete(self, session_id: str) -> None:
        """Forget a session.

        Raises:
            UnknownSession: never opened, closed, or forgotten.
            QueueUnavailable: out of reach.
        """

    @abstractmethod
    async def close(self) -> None:
        """Give up what the store holds open; the sessions stay."""


def unknown_session(session_id: str) -> UnknownSession:
    """What is told of an id that no session has."""
    return UnknownSession(f"no session {session_id!r}; it was closed, or forgotten after its time")


def session_conflict(session_id: str) -> SessionConflict:
    """What is told to the later of two writers."""
    return SessionConflict(
        f"session {session_id} was changed by another call meanwhile; look where it stands, and "
        "observe from one place only"
    )


def sessions_full(max_bytes: int, retry_after_s: float) -> SessionsFull:
    """What is told when there is no room."""
    return SessionsFull(
        f"sessions may take {max_bytes} bytes in all; close some, or wait until some are forgotten",
        retry_after_s=max(retry_after_s, 0.0),
    )


class MemorySessionStore(AbstractSessionStore):
    """Sessions of one process, lost with it.

    Arguments:
        max_bytes: of all sessions.
        clock: seconds.
    """

    def __init__(self, max_bytes: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_bytes = max_bytes
        self._clock = clock
        self._kept: dict[str, _Kept] = {}
        self._num_bytes = 0

    async def create(self, session_id: str, data: bytes, ttl_s: float) -> None:
        self._make_room(len(data))
        self._put(session_id, _Kept(Record(0, data), ttl_s, self._clock() + ttl_s))

    async def read(self, session_id: str) -> Record:
        kept = self._find(session_id)
        self._kept[session_id] = kept._replace(forget_at=self._clock() + kept.ttl_s)
        return kept.record

    async def replace(self, session_id: str, sequence: int, data: bytes) -> None:
        kept = self._find(session_id)
        if kept.record.sequence != sequence:
            raise session_conflict(session_id)
        self._make_room(len(data) - len(kept.record.data))
        self._drop(session_id)
        record = Record(sequence + 1, data)
        self._put(session_id, _Kept(record, kept.ttl_s, self._clock() + kept.ttl_s))

    async def delete(self, session_id: str) -> None:
        self._find(session_id)
        self._drop(session_id)

    async def close(self) -> None:
        return

    def _find(self, session_id: str) -> "_Kept":
        kept = self._kept.get(session_id)
        if kept is None or kept.forget_at <= self._clock():
            raise unknown_session(session_id)
        return kept

    def _make_room(self, num_bytes: int) -> None:
        if self._num_bytes + num_bytes <= self._max_bytes:
            return
        now = self._clock()
        for session_id in [name for name, kept in self._kept.items() if kept.forget_at <= now]:
            self._drop(session_id)
        if self._num_bytes + num_bytes > self._max_bytes:
            first = min((kept.forget_at for kept in self._kept.values()), default=now)
            raise sessions_full(self._max_bytes, first - now)

    def _put(self, session_id: str, kept: "_Kept") -> None:
        self._kept[session_id] = kept
        self._num_bytes += len(kept.record.data)

    def _drop(self, session_id: str) -> None:
        self._num_bytes -= len(self._kept.pop(session_id).record.data)


class _Kept(NamedTuple):
    record: Record
    ttl_s: float
    forget_at: float

"""Sessions of a fleet: any gateway answers the next call. The keys are told in lua/session.lua.

Every process holds the sessions it has seen last, so that a call fetches the state only where
another process has changed it since; what changes is written through.
"""

import contextlib
from collections import OrderedDict
from collections.abc import Callable

from certisolve_server.broker.base import Bounds
from certisolve_server.sessions.store import (
    AbstractSessionStore,
    Record,
    session_conflict,
    sessions_full,
    unknown_session,
)

from .connection import UNREACHABLE, Connection

#: Of the sessions that a process holds beside Redis.
_HELD_BYTES = 64 << 20


class RedisSessionStore(AbstractSessionStore):
    """The sessions around one queue.

    Arguments:
        url: `redis://host:port/db`.
        max_bytes: of all sessions; the same in every process.
        prefix: of all keys.
        held_bytes: of those that this process holds in memory.
        clock: Unix seconds, for tests; None for the clock of Redis, which all hosts share.
    """

    def __init__(
        self,
        url: str,
        max_bytes: int,
        prefix: str = "certisolve",
        *,
        held_bytes: int = _HELD_BYTES,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._connection = Connection(url, prefix, Bounds(), clock)
        self._max_bytes = max_bytes
        self._held = _Held(held_bytes)

    async def create(self, session_id: str, data: bytes, ttl_s: float) -> None:
        word, rest = await self._run("create", session_id, data, repr(ttl_s), self._max_bytes)
        self._check(session_id, word, rest)
        self._held.put(session_id, Record(0, data))

    async def read(self, session_id: str) -> Record:
        held = self._held.get(session_id)
        known = "" if held is None else str(held.sequence)
        word, rest = await self._run("read", session_id, known)
        if held is not None and word == b"known":
            return held
        self._check(session_id, word, rest)
        record = Record(int(word), rest)
        self._held.put(session_id, record)
        return record

    async def replace(self, session_id: str, sequence: int, data: bytes) -> None:
        word, rest = await self._run("replace", session_id, sequence, data, self._max_bytes)
        self._check(session_id, word, rest)
        self._held.put(session_id, Record(sequence + 1, data))

    async def delete(self, session_id: str) -> None:
        word, rest = await self._run("delete", session_id)
        self._check(session_id, word, rest)
        self._held.drop(session_id)

    async def close(self) -> None:
        with contextlib.suppress(*UNREACHABLE):
            await self._connection.close()

    async def _run(self, what: str, session_id: str, *words: object) -> tuple[bytes, bytes]:
        word, rest = await self._connection.run("session", what, session_id, *words)
        return word, rest

    def _check(self, session_id: str, word: bytes, rest: bytes) -> None:
        if word == b"unknown":
            self._held.drop(session_id)
            raise unknown_session(session_id)
        if word == b"conflict":
            raise session_conflict(session_id)
        if word == b"full":
            raise sessions_full(self._max_bytes, float(rest))


class _Held:
    """The sessions used last, up to a number of bytes."""

    def __init__(self, max_bytes: int) -> None:
        self._records: OrderedDict[str, Record] = OrderedDict()
        self._max_bytes = max_bytes
        self._num_bytes = 0

    def get(self, session_id: str) -> Record | None:
        record = self._records.get(session_id)
        if record is not None:
            self._records.move_to_end(session_id)
        return record

    def put(self, session_id: str, record: Record) -> None:
        self.drop(session_id)
        self._records[session_id] = record
        self._num_bytes += len(record.data)
        while self._num_bytes > self._max_bytes:
            self.drop(next(iter(self._records)))

    def drop(self, session_id: str) -> None:
        record = self._records.pop(session_id, None)
        if record is not None:
            self._num_bytes -= len(record.data)

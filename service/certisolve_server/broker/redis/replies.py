"""What a gateway is told: frames and ends of its jobs, and changes of jobs it watches."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from certisolve_server.broker.frames import FrameStream
from certisolve_server.jobs import JobState, SolveJob

from .connection import COMMAND_TIMEOUT_S, UNREACHABLE, UNUSABLE, Connection, execute, open_client
from .records import Records, Reply

_BLOCK_S = 5.0
#: Entries that are read at once: few until it is known how large they are, since a reply must come
#: in time, however slow the network is.
_FIRST_COUNT, _LARGEST_COUNT, _READ_BYTES = 16, 256, 16 << 20
#: Bytes or entries read after which what was read is deleted.
_TRIM_BYTES, _TRIM_ENTRIES = 4 << 20, 256
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 1.0


class Expected(NamedTuple):
    """A job whose end this process waits for.

    Attributes:
        end: its final state; None when the result is kept with the job.
        stream: where its frames go; None for a job that is not streamed.
    """

    end: "asyncio.Future[JobState | None]"
    stream: FrameStream | None

    def settle(self, state: JobState | None) -> None:
        """Take in how it ended, unless that is known."""
        if not self.end.done():
            self.end.set_result(state)
            if self.stream is not None:
                self.stream.end(state)


class Replies:
    """Reads this gateway's stream; after a broken connection it goes on where it was.

    Arguments:
        connection: to the same Redis.
        gateway: names the stream; new for each process.
        records: reads what comes.
        on_return: called when Redis is back after it was out of reach.
    """

    def __init__(
        self,
        connection: Connection,
        gateway: str,
        records: Records,
        on_return: Callable[[], None],
    ) -> None:
        self._connection = connection
        self._client = open_client(connection.url)
        self._stream = connection.key("replies", gateway)
        self._records = records
        self._on_return = on_return
        self._last: bytes | str = "0-0"
        self._read_entries = self._read_bytes = 0
        self._count = _FIRST_COUNT
        self._expected: dict[str, Expected] = {}
        self._changes: dict[str, set[asyncio.Event]] = {}

    def expect(self, job: SolveJob) -> None:
        """Hold the frames and the end of a job until they are taken or dropped."""
        end = asyncio.get_running_loop().create_future()
        self._expected[job.id] = Expected(end, FrameStream(job) if job.work.stream else None)

    def expected(self, job_id: str) -> Expected | None:
        """What there is of an expected job; None for any other."""
        return self._expected.get(job_id)

    def drop(self, job_id: str) -> Expected | None:
        """Expect a job no longer."""
        return self._expected.pop(job_id, None)

    @contextlib.contextmanager
    def changes(self, job_id: str) -> Iterator[asyncio.Event]:
        """An event that is set when the job changes, if Redis was asked to tell."""
        event = asyncio.Event()
        self._changes.setdefault(job_id, set()).add(event)
        try:
            yield event
        finally:
            self._changes[job_id].discard(event)
            if not self._changes[job_id]:
                del self._changes[job_id]

    async def run(self) -> None:
        """Read until cancelled."""
        pause_s, lost = _FIRST_PAUSE_S, False
        while True:
            try:
                if lost:
                    await self._return()
                pause_s, lost = _FIRST_PAUSE_S, False
                await self._read("BLOCK", int(1e3 * _BLOCK_S))
            except UNUSABLE:
                lost = True
                self._count = max(1, self._count // 4)
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    async def close(self) -> None:
        """Give the connection back and delete the stream."""
        with contextlib.suppress(*UNREACHABLE):
            await execute(self._client, "DEL", self._stream)
            await self._client.aclose()

    async def _read(self, *block: str | int) -> bool:
        """Deliver what has come, whether anything has; with `block`, wait for it."""
        reply = await execute(
            self._client,
            *("XREAD", "COUNT", self._count, *block, "STREAMS", self._stream, self._last),
            timeout_s=_BLOCK_S + COMMAND_TIMEOUT_S,
        )
        self._connection.reached()
        entries = reply[0][1] if reply else []
        for entry_id, values in entries:
            self._last = entry_id
            self._deliver(values)
        self._adapt(entries)
        if self._read_entries >= _TRIM_ENTRIES or self._read_bytes >= _TRIM_BYTES or not reply:
            await execute(self._client, "XTRIM", self._stream, "MINID", self._last)
            self._read_entries = self._read_bytes = 0
        return bool(reply)

    def _adapt(self, entries: Sequence[tuple[bytes, Mapping[bytes, bytes]]]) -> None:
        """Read fewer at once where they are large, more where many small ones wait."""
        num_bytes = sum(len(values[b"b"]) for _, values in entries)
        if num_bytes > _READ_BYTES:
            self._count = max(1, self._count // 2)
        elif len(entries) == self._count and 2 * num_bytes <= _READ_BYTES:
            self._count = min(_LARGEST_COUNT, 2 * self._count)

    def _deliver(self, values: Mapping[bytes, bytes]) -> None:
        job_id, field, payload = values[b"i"].decode(), values[b"f"].decode(), values[b"b"]
        self._read_entries += 1
        self._read_bytes += len(payload)
        if field != "frame":
            for event in self._changes.get(job_id, ()):
                event.set()
        expected = self._expected.get(job_id)
        if expected is None or expected.end.done():
            self._records.remove(payload)
        elif field == "frame":
            self._deliver_frame(expected, payload)
        elif field:
            reply = Reply(values[b"s"].decode(), field, payload)
            expected.settle(self._records.read_end(reply) if payload else None)

    def _deliver_frame(self, expected: Expected, payload: bytes) -> None:
        frame = self._records.read_frame(payload)
        if frame is not None and expected.stream is not None:
            expected.stream.put(frame)

    async def _return(self) -> None:
        while await self._read():
            pass
        # Redis may have forgotten who watches what.
        for events in self._changes.values():
            for event in events:
                event.set()
        self._on_return()

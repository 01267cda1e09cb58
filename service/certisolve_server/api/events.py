"""A job's changes as server-sent events."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, NamedTuple

from certisolve_server.dataplane import JobView
from certisolve_server.errors import InternalError, ServingError

from .codec import encode_json
from .documents import job_document
from .problems import problem_document

EVENT_STREAM = "text/event-stream"
EVENT_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
_HEARTBEAT = b": still here\n\n"
_log = logging.getLogger(__name__)


async def job_events(
    first: JobView, changes: AsyncIterator[JobView], heartbeat_s: float = 15.0
) -> AsyncGenerator[bytes, None]:
    """An event for every view; the last one is named after the status the job ended with.

    A view of a certification with a better certificate is named `bound`. What keeps the changes
    from going on is an event too, `problem`, and the last one.

    Args:
        first: where the job stands.
        changes: what comes after.
        heartbeat_s: seconds of silence after which a comment keeps proxies awake.
    """
    # Of one place: a client that reads slowly is told less often.
    events: asyncio.Queue[_Event | None] = asyncio.Queue(maxsize=1)
    told = _Told()
    watching = asyncio.create_task(_watch(changes, events, told))
    number = 1
    try:
        yield told.event(first).encode(number)
        while (event := await _next(events, heartbeat_s)) is not None:
            number += event is not _SILENCE
            yield _HEARTBEAT if event is _SILENCE else event.encode(number)
    finally:
        watching.cancel()


class _Event(NamedTuple):
    name: str
    document: dict[str, Any]

    def encode(self, number: int) -> bytes:
        # JSON in one line, so that it is one data line.
        name, data = self.name.encode(), encode_json(self.document)
        return b"id: %d\nevent: %s\ndata: %s\n\n" % (number, name, data)


_SILENCE = _Event("", {})


async def _next(events: "asyncio.Queue[_Event | None]", heartbeat_s: float) -> _Event | None:
    """The next event; None after the last, `_SILENCE` when there is none for so long."""
    try:
        async with asyncio.timeout(heartbeat_s):
            return await events.get()
    except TimeoutError:
        return _SILENCE


async def _watch(
    changes: AsyncIterator[JobView], events: "asyncio.Queue[_Event | None]", told: "_Told"
) -> None:
    try:
        async for view in changes:
            await events.put(told.event(view))
    except ServingError as error:
        await events.put(_Event("problem", problem_document(error)))
    except Exception as error:
        _log.error("job_events_failed", exc_info=error)
        defect = InternalError("a defect of the server; its log has the cause")
        await events.put(_Event("problem", problem_document(defect)))
    await events.put(None)


class _Told:
    """What a client has heard of a job: a certificate that was told is not told again."""

    def __init__(self) -> None:
        self._latest: int | None = None

    def event(self, view: JobView) -> _Event:
        """The next one."""
        document, status, frame = job_document(view), view.state.status, view.state.latest
        if status == "succeeded":
            document["location"] = f"/v1/jobs/{view.id}"
        if view.state.ended:
            return _Event(status, document)
        latest = None if frame is None else frame.index
        if latest is not None and latest != self._latest:
            self._latest = latest
            return _Event("bound", document)
        document.pop("certificate", None)
        return _Event("status", document)

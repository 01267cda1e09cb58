"""Solutions in parts over HTTP."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from certisolve_server.errors import Cancelled, InternalError, ServingError
from certisolve_server.parts import Part
from certisolve_server.streams import SolveStream

from .disconnects import CancelledOnDisconnect
from .events import EVENT_HEADERS
from .part_codec import Renderer

_log = logging.getLogger(__name__)


class PartsResponse(Response):
    """Sends the parts of a solution as they come, as fast as the client reads.

    Closes the stream, and thereby cancels the job, when the client goes away. What keeps the parts
    from coming is sent too, as the last one.

    Arguments:
        request: read to its end.
        stream: of parts; closed with the response.
        renderer: writes them.
        heartbeat_s: seconds of silence after which a sign of life keeps proxies awake.
    """

    def __init__(
        self, request: Request, stream: SolveStream, renderer: Renderer, heartbeat_s: float = 15.0
    ) -> None:
        super().__init__(headers=EVENT_HEADERS, media_type=renderer.media_type)
        # Of a body without a length, sent in chunks.
        del self.headers["content-length"]
        self._request = request
        self._stream = stream
        self._renderer = renderer
        self._heartbeat_s = heartbeat_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it; the ASGI interface."""
        async with contextlib.aclosing(self._stream):
            with contextlib.suppress(Cancelled), CancelledOnDisconnect(self._request):
                await self._send_all(send)

    async def _send_all(self, send: Send) -> None:
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        await send(start)
        async with contextlib.aclosing(self._chunks()) as chunks:
            async for chunk in chunks:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _chunks(self) -> AsyncGenerator[bytes, None]:
        try:
            async with contextlib.aclosing(heard(self._stream, self._heartbeat_s)) as parts:
                async for part in parts:
                    yield self._renderer.silence if part is None else self._renderer.part(part)
        except ServingError as error:
            yield self._renderer.problem(error)
        except Exception as error:
            _log.error("solve_stream_failed", exc_info=error)
            defect = InternalError("a defect of the server; its log has the cause")
            yield self._renderer.problem(defect)


async def heard(parts: SolveStream, heartbeat_s: float) -> AsyncGenerator[Part | None, None]:
    """The parts as they come, and None whenever there was none for `heartbeat_s` seconds."""
    while True:
        waiting = asyncio.ensure_future(anext(parts, None))
        try:
            while not (await asyncio.wait((waiting,), timeout=heartbeat_s))[0]:
                yield None
        finally:
            if not waiting.done():
                # Awaited, so that nobody is inside the stream when it is closed.
                waiting.cancel()
                await asyncio.wait((waiting,))
        part = await waiting
        if part is None:
            return
        yield part

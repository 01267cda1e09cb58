"""What a request's handler was doing ends when its client goes away."""

import asyncio

from starlette.requests import Request

from certisolve_server.errors import Cancelled

# Watching for a disconnect costs a task; most answers are out sooner than this.
_WATCH_AFTER_S = 0.02


class CancelledOnDisconnect:
    """Cancels what the current task does inside when the client goes away.

    Arguments:
        request: read to its end.
    """

    def __init__(self, request: Request) -> None:
        self._request = request
        self._task = asyncio.current_task()
        self._watcher: asyncio.Task[None] | None = None

    def __enter__(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(_WATCH_AFTER_S, self._start_watching)

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        self._timer.cancel()
        if self._watcher is None:
            return
        self._watcher.cancel()
        if kind is asyncio.CancelledError and self._watcher.done() and self._task is not None:
            self._task.uncancel()
            raise Cancelled("the client went away")

    def _start_watching(self) -> None:
        self._watcher = asyncio.get_running_loop().create_task(self._watch())

    async def _watch(self) -> None:
        while (await self._request.receive())["type"] != "http.disconnect":
            pass
        if self._task is not None:
            self._task.cancel()

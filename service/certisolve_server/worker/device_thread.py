"""The thread that feeds a device."""

import asyncio
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from threading import Thread
from typing import Any, NamedTuple, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class DeviceThread:
    """Runs calls one after the other, off the event loop.

    A thread pool would do, but its bookkeeping takes longer than a small model.

    Arguments:
        name: of the thread.
        initialise: called in it before everything else.
    """

    def __init__(self, name: str, initialise: Callable[[], None] = lambda: None) -> None:
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self._initialise = initialise
        Thread(target=self._run, name=name, daemon=True).start()

    def call(
        self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> "asyncio.Future[T]":
        """What `function` returns or raises, in a future of the running loop."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._calls.put(_Call(loop, future, lambda: function(*args, **kwargs)))
        return future

    def stop(self) -> None:
        """End the thread once the calls made so far are done."""
        self._calls.put(None)

    def _run(self) -> None:
        self._initialise()
        while (call := self._calls.get()) is not None:
            settle = _call(call)
            if not call.loop.is_closed():
                call.loop.call_soon_threadsafe(settle)
            # A batch must not be kept in memory until the next one comes.
            del call, settle


class _Call(NamedTuple):
    loop: asyncio.AbstractEventLoop
    future: "asyncio.Future[Any]"
    function: Callable[[], Any]


def _call(call: _Call) -> Callable[[], None]:
    """Run the call; what settles its future, in its loop."""
    try:
        result = call.function()
    except Exception as error:
        return partial(_settle, call.future, call.future.set_exception, error)
    return partial(_settle, call.future, call.future.set_result, result)


def _settle(future: "asyncio.Future[Any]", settle: Callable[[Any], None], value: object) -> None:
    # The future of a stopped worker is cancelled already.
    if not future.done():
        settle(value)

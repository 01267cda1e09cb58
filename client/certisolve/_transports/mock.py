"""A server that is a function: tests without a network."""

from collections.abc import Callable

from certisolve._calls import Call, Reply

from .base import AsyncTransport, Transport


class MockTransport(Transport, AsyncTransport):
    """Answers every call with `handler(call)`, for either client.

    Args:
        handler: returns the reply, or raises what a server's answer would have raised.
    """

    def __init__(self, handler: Callable[[Call], Reply]) -> None:
        self._handler = handler

    def send(self, call: Call) -> Reply:
        return self._handler(call)

    async def asend(self, call: Call) -> Reply:
        return self._handler(call)

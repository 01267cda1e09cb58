"""A server that is a function: tests without a network."""

from collections.abc import AsyncGenerator, Callable, Generator, Iterable

from certisolve._calls import Call, Reply

from .base import AsyncTransport, Transport


class MockTransport(Transport, AsyncTransport):
    """Answers every call with `handler(call)`, for either client.

    Args:
        handler: returns the reply, or raises what a server's answer would have raised.
        events: returns the replies of a stream, which `Job.events` and `Client.stream` open; may
            raise between two of them. None for streams that break after one reply, the handler's.
    """

    def __init__(
        self,
        handler: Callable[[Call], Reply],
        events: Callable[[Call], Iterable[Reply]] | None = None,
    ) -> None:
        self._handler = handler
        self._events = events or self._one_event

    def send(self, call: Call) -> Reply:
        return self._handler(call)

    def stream(self, call: Call) -> Generator[Reply, None, None]:
        yield from self._events(call)

    async def asend(self, call: Call) -> Reply:
        return self._handler(call)

    async def astream(self, call: Call) -> AsyncGenerator[Reply, None]:
        for reply in self._events(call):
            yield reply

    def _one_event(self, call: Call) -> Iterable[Reply]:
        yield self._handler(call)

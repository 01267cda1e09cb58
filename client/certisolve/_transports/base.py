"""The seam between the clients and the network."""

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Generator

from certisolve._calls import Call, Reply

_NO_STREAMS = "this transport carries no streams; override"


class Transport(ABC):
    """Carries calls to one server, for `Client`; may be used from several threads."""

    @abstractmethod
    def send(self, call: Call) -> Reply:
        """The answer to `call`, one attempt, within `call.timeout_s`.

        Raises:
            ServerError: the server answered with a problem.
            TransportError: no answer came.
            InvalidReply: the answer makes no sense.
        """

    def stream(self, call: Call) -> Generator[Reply, None, None]:
        """The answers to `call`, a `watch_job` or a `stream`, as they come.

        Closing the generator ends the stream. A transport without streams need not override this.

        Raises:
            ServerError: the server answered with a problem.
            ConnectionFailed: the stream could not be opened, or it broke.
            RequestTimeout: a `watch_job` has lasted for `call.timeout_s`; a `stream` kept its
                reader waiting for so long.
            InvalidReply: an answer makes no sense.
            NotImplementedError: the transport carries no streams.
        """
        raise NotImplementedError(f"{_NO_STREAMS} stream")

    def close(self) -> None:
        """Release the connections; the transport cannot be used afterwards."""
        return


class AsyncTransport(ABC):
    """Carries calls to one server, for `AsyncClient`; belongs to one event loop."""

    @abstractmethod
    async def asend(self, call: Call) -> Reply:
        """As `Transport.send`."""

    def astream(self, call: Call) -> AsyncGenerator[Reply, None]:
        """As `Transport.stream`."""
        raise NotImplementedError(f"{_NO_STREAMS} astream")

    async def aclose(self) -> None:
        """As `Transport.close`."""
        return

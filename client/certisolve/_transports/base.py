"""The seam between the clients and the network."""

from abc import ABC, abstractmethod

from certisolve._calls import Call, Reply


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

    def close(self) -> None:
        """Release the connections; the transport cannot be used afterwards."""
        return


class AsyncTransport(ABC):
    """Carries calls to one server, for `AsyncClient`; belongs to one event loop."""

    @abstractmethod
    async def asend(self, call: Call) -> Reply:
        """As `Transport.send`."""

    async def aclose(self) -> None:
        """As `Transport.close`."""
        return

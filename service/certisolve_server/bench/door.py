"""The contract of a door: connections that send prepared requests."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, NamedTuple

from numpy.typing import NDArray


class Answer(NamedTuple):
    """What came back.

    Attributes:
        code: `ok`, the server's error code, or `connection_failed`.
        batch_size: requests in the same forward pass; 0 with an error.
    """

    code: str
    batch_size: int = 0


class SolveInputs(NamedTuple):
    """The variable part of a solve request."""

    arrays: Mapping[str, NDArray[Any]]
    parameters: Mapping[str, float]


class AbstractConnection(ABC):
    """One connection, which carries one request at a time."""

    @abstractmethod
    async def send(self, request: bytes) -> Answer:
        """Send a prepared request and wait for its answer; failures are answers too."""

    @abstractmethod
    async def aclose(self) -> None:
        """Close the connection."""


class AbstractDoor(ABC):
    """One protocol of one server."""

    @abstractmethod
    def prepare(self, model: str, version: str | None, inputs: SolveInputs) -> bytes:
        """The bytes of a solve request, made once and sent often."""

    @abstractmethod
    async def connect(self) -> AbstractConnection:
        """A new connection.

        Raises:
            OSError: nobody listens.
        """

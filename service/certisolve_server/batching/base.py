"""The contract of a batcher, and the two values that cross it."""

from abc import ABC, abstractmethod
from collections.abc import Hashable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Request:
    """What a batcher knows of a job.

    Attributes:
        id: unique among the requests it holds.
        lane: requests of equal lanes may share a batch.
        arrived_at: seconds, on the clock of every `now`.
        deadline: seconds on the same clock; None for no deadline.
    """

    id: str
    lane: Hashable
    arrived_at: float
    deadline: float | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """Requests of one lane that run together, in order of arrival; never empty."""

    lane: Hashable
    requests: tuple[Request, ...]


class AbstractBatcher(ABC):
    """Holds waiting requests and decides which run next. Pure: time is an argument."""

    @abstractmethod
    def add(self, request: Request) -> None:
        """Take a request in. Its id must not be held already."""

    @abstractmethod
    def cancel(self, request_id: str) -> bool:
        """Forget a waiting request; False if it is not waiting."""

    @abstractmethod
    def expire(self, now: float) -> list[Request]:
        """Forget and return the waiting requests whose deadline is not after `now`."""

    @abstractmethod
    def next_batch(self, now: float, *, device_idle: bool) -> Batch | None:
        """The batch that should run next, or None to go on collecting.

        An idle device always gets a batch when any request waits. A busy one, which asks in order
        to have the next batch staged in time, gets only what gains nothing by waiting.
        """

    @abstractmethod
    def wake_at(self) -> float | None:
        """When a busy device should ask again although nothing arrived; None for never."""

    @abstractmethod
    def __len__(self) -> int:
        """How many requests wait."""

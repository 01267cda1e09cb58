"""Every broker, as the processes around one queue see it, for the cases in tests/contract."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from certisolve_server.broker import AbstractBroker, Bounds, MemoryBroker
from certisolve_server.broker.redis import RedisBroker
from redis_server import RedisServer


class Clock:
    """Unix seconds that only a test moves."""

    START = 1_700_000_000.0

    def __init__(self) -> None:
        self.now = self.START

    def __call__(self) -> float:
        return self.now


class Participants(ABC):
    """The processes around one queue, all on one clock."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    @abstractmethod
    async def join(self, name: str) -> AbstractBroker:
        """The queue as the gateway or worker process `name` holds it, listening."""

    async def elapse(self, seconds: float) -> None:
        """Let time pass: for the clock, and for whatever forgets by itself."""
        self.clock.now += seconds


class _OneProcess(Participants):
    def __init__(self, clock: Clock, broker: AbstractBroker) -> None:
        super().__init__(clock)
        self._broker = broker

    async def join(self, name: str) -> AbstractBroker:
        del name
        return self._broker


@asynccontextmanager
async def _memory_queue(bounds: Bounds, clock: Clock) -> AsyncIterator[Participants]:
    async with MemoryBroker(bounds, clock) as broker:
        yield _OneProcess(clock, broker)


class _ManyProcesses(Participants):
    def __init__(self, clock: Clock, url: str, bounds: Bounds, exits: AsyncExitStack) -> None:
        super().__init__(clock)
        self._url = url
        self._bounds = bounds
        self._exits = exits

    async def join(self, name: str) -> AbstractBroker:
        broker = RedisBroker(self._url, name, bounds=self._bounds, clock=self.clock)
        return await self._exits.enter_async_context(broker)


@asynccontextmanager
async def _redis_queue(bounds: Bounds, clock: Clock) -> AsyncIterator[Participants]:
    with TemporaryDirectory() as directory, RedisServer(Path(directory)) as server:
        async with AsyncExitStack() as exits:
            yield _ManyProcesses(clock, server.url, bounds, exits)


#: Makes an empty queue with the given bounds, on the given clock.
QueueFactory = Callable[[Bounds, Clock], AbstractAsyncContextManager[Participants]]

all_brokers: dict[str, QueueFactory] = {"memory": _memory_queue, "redis": _redis_queue}

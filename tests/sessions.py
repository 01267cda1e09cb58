"""Sessions through every door with one way to call them, and what plain loops make of them."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from certisolve import AsyncClient, AsyncSession, Client
from certisolve_server.bench import LocalServer


class AwaitedSession:
    """An `AsyncSession` that blocks."""

    def __init__(self, session: AsyncSession, wait: Callable[[Any], Any]) -> None:
        self._session = session
        self._wait = wait

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._session, name)
        if not callable(value):
            return value
        return lambda *arguments, **options: self._wait(value(*arguments, **options))


class AwaitedClient:
    """The sessions of an `AsyncClient`, blocking."""

    def __init__(self, client: AsyncClient, wait: Callable[[Any], Any]) -> None:
        self._client = client
        self._wait = wait

    def session(self, *arguments: Any, **options: Any) -> Any:
        return self._wrap(self._client.session(*arguments, **options))

    def restore_session(self, *arguments: Any, **options: Any) -> Any:
        return self._wrap(self._client.restore_session(*arguments, **options))

    def attach_session(self, *arguments: Any, **options: Any) -> Any:
        return self._wrap(self._client.attach_session(*arguments, **options))

    def _wrap(self, opening: Any) -> AwaitedSession:
        return AwaitedSession(self._wait(opening), self._wait)


@contextlib.contextmanager
def _sync(url: str) -> Iterator[Any]:
    with Client(url) as client:
        yield client


@contextlib.contextmanager
def _async(url: str) -> Iterator[Any]:
    with asyncio.Runner() as runner:
        client = AsyncClient(url)
        yield AwaitedClient(client, runner.run)
        runner.run(client.aclose())


#: Name -> URL scheme and how to open a client.
SESSION_DOORS = {
    "http-sync": ("http", _sync),
    "http-async": ("http", _async),
    "grpc-sync": ("grpc", _sync),
    "grpc-async": ("grpc", _async),
}


def open_door(door: str, server: LocalServer) -> contextlib.AbstractContextManager[Any]:
    """A client of one of `SESSION_DOORS`."""
    scheme, opened = SESSION_DOORS[door]
    return opened(server.url(scheme))

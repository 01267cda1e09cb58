"""The four doors to a server, as one fixture."""

import contextlib
import functools
import inspect
from dataclasses import dataclass

import pytest
from anyio.from_thread import start_blocking_portal

from certisolve import AsyncClient, AsyncJob, Client, Clock

from .servers import Backend, serve_grpc, serve_http


class FakeClock(Clock):
    """Time that passes only when somebody sleeps."""

    def __init__(self):
        self.now = 100.0
        self.naps = []

    def monotonic(self):
        return self.now

    def sleep(self, delay_s):
        self.naps.append(delay_s)
        self.now += delay_s

    async def asleep(self, delay_s):
        self.sleep(delay_s)


class Blocking:
    """An asynchronous object, called from blocking code."""

    def __init__(self, portal, target):
        self._portal = portal
        self._target = target

    def __getattr__(self, name):
        attribute = getattr(self._target, name)
        if inspect.isasyncgenfunction(attribute):
            return functools.partial(self._iterate, attribute)
        if not inspect.iscoroutinefunction(attribute):
            return attribute
        return functools.partial(self._call, attribute)

    def job(self, job_id):
        return Blocking(self._portal, self._target.job(job_id))

    def stream(self, *args, **kwargs):
        return BlockingStream(self._portal, self._target.stream(*args, **kwargs))

    def _iterate(self, method, *args, **kwargs):
        iterator = method(*args, **kwargs)
        end = object()
        try:
            while (item := self._portal.call(anext, iterator, end)) is not end:
                yield item
        finally:
            self._portal.call(iterator.aclose)

    def _call(self, method, *args, **kwargs):
        result = self._portal.call(functools.partial(method, *args, **kwargs))
        return Blocking(self._portal, result) if isinstance(result, AsyncJob) else result


class BlockingStream:
    """An asynchronous stream, read from blocking code."""

    def __init__(self, portal, stream):
        self._portal = portal
        self._stream = stream

    def __iter__(self):
        return self

    def __next__(self):
        try:
            return self._portal.call(anext, self._stream)
        except StopAsyncIteration:
            raise StopIteration from None

    def __getattr__(self, name):
        return getattr(self._stream, name)

    def close(self):
        self._portal.call(self._stream.aclose)

    def __enter__(self):
        self._portal.call(self._stream.__aenter__)
        return self

    def __exit__(self, *error):
        self._portal.call(self._stream.__aexit__, *error)


@dataclass(frozen=True)
class Door:
    """One way to a server."""

    scheme: str
    asynchronous: bool

    def __str__(self):
        return f"{'async' if self.asynchronous else 'sync'}-{self.scheme}"

    @contextlib.contextmanager
    def open(self, url, **options):
        """A client of blocking methods."""
        if not self.asynchronous:
            with Client(url, **options) as client:
                yield client
            return
        with start_blocking_portal() as portal:
            client = AsyncClient(url, **options)
            try:
                yield Blocking(portal, client)
            finally:
                portal.call(client.aclose)


ALL_DOORS = [Door(scheme, late) for scheme in ("http", "grpc") for late in (False, True)]


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture(params=ALL_DOORS, ids=str)
def door(request):
    return request.param


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def http_door(request):
    return Door("http", request.param)


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def grpc_door(request):
    return Door("grpc", request.param)


@pytest.fixture(scope="session")
def servers():
    """Both servers with the backend they share: (backend, URL by scheme)."""
    backend = Backend()
    with serve_http(backend) as http, serve_grpc(backend) as grpc:
        yield backend, {"http": http, "grpc": grpc}
        backend.released.set()


@pytest.fixture
def backend(servers):
    """The backend, with nothing scripted and nothing recorded."""
    backend, _ = servers
    backend.reset()
    yield backend
    backend.released.set()


@pytest.fixture
def url(servers, door):
    return servers[1][door.scheme]


@pytest.fixture
def client(door, url, backend, clock):
    with door.open(url, clock=clock) as client:
        yield client

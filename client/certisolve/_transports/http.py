"""HTTP/1.1 with safetensors bodies, over httpx."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Generator

import httpx

from certisolve._calls import Call, Reply
from certisolve._config import CONNECT_TIMEOUT_S, MAX_CONNECTIONS
from certisolve._errors import RequestTimeout

from ._http_codec import Answer, HttpCodec, map_httpx_errors, timed_out
from ._http_streams import stream_answers
from .base import AsyncTransport, Transport

_LIMITS = httpx.Limits(max_connections=MAX_CONNECTIONS, max_keepalive_connections=MAX_CONNECTIONS)


class HttpTransport(Transport):
    """Keeps connections alive between calls.

    Args:
        url: `http://` or `https://`, with the path prefix of a proxy if there is one.
        client: carries the requests instead of a client of default settings; for own certificates,
            headers or proxies. Closed with the transport.
        connect_timeout_s: seconds to establish a connection.
    """

    def __init__(
        self,
        url: str,
        *,
        client: httpx.Client | None = None,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
    ) -> None:
        self._codec = HttpCodec(url, connect_timeout_s)
        self._client = client or httpx.Client(limits=_LIMITS, verify=_trust(url))

    def send(self, call: Call) -> Reply:
        answer = Answer(call)
        with map_httpx_errors(call), contextlib.closing(self._request(call)) as response:
            return _read(response, answer)

    def stream(self, call: Call) -> Generator[Reply, None, None]:
        answers = stream_answers(call)
        with map_httpx_errors(call), contextlib.closing(self._request(call)) as response:
            if not answers.accepts(response):
                raise answers.refuse(_read(response, Answer(call)))
            for chunk in response.iter_bytes():
                yield from answers.add(chunk)

    def close(self) -> None:
        self._client.close()

    def _request(self, call: Call) -> httpx.Response:
        return self._client.send(self._codec.request(call), stream=True)


class AsyncHttpTransport(AsyncTransport):
    """As `HttpTransport`, with an `httpx.AsyncClient`; belongs to one event loop."""

    def __init__(
        self,
        url: str,
        *,
        client: httpx.AsyncClient | None = None,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
    ) -> None:
        self._codec = HttpCodec(url, connect_timeout_s)
        self._clients = _AsyncClients(url, client)

    async def asend(self, call: Call) -> Reply:
        try:
            async with asyncio.timeout(call.timeout_s), self._clients.take() as client:
                return await self._exchange(client, call)
        except RequestTimeout:
            raise
        except TimeoutError as error:
            raise timed_out("the caller's time is up", call) from error

    async def astream(self, call: Call) -> AsyncGenerator[Reply, None]:
        answers = stream_answers(call)
        limit = _Limit(call, answers.late)
        async with contextlib.AsyncExitStack() as stack:
            stack.enter_context(map_httpx_errors(call))
            async with limit.running():
                client = await stack.enter_async_context(self._clients.take())
                response = await client.send(self._codec.request(call), stream=True)
                stack.push_async_callback(response.aclose)
                if not answers.accepts(response):
                    raise answers.refuse(await _aread(response, Answer(call)))
            chunks = response.aiter_bytes()
            while True:
                async with limit.running():
                    chunk = await anext(chunks, None)
                if chunk is None:
                    return
                for reply in answers.add(chunk):
                    yield reply
                    if answers.restarts:
                        limit.restart()

    async def aclose(self) -> None:
        await self._clients.aclose()

    async def _exchange(self, client: httpx.AsyncClient, call: Call) -> Reply:
        answer = Answer(call)
        with map_httpx_errors(call):
            response = await client.send(self._codec.request(call), stream=True)
            try:
                return await _aread(response, answer)
            finally:
                await response.aclose()


class _Limit:
    """The end of a stream's time; does not run while the caller holds a reply.

    An `asyncio.timeout` around a whole generator would cancel whoever reads it, at any point.
    """

    def __init__(self, call: Call, late: str) -> None:
        self._call = call
        self._late = late
        self.restart()

    def restart(self) -> None:
        """Let the time run from now."""
        timeout_s = self._call.timeout_s
        now = asyncio.get_running_loop().time()
        self._deadline = None if timeout_s is None else now + timeout_s

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout_at(self._deadline):
                yield
        except RequestTimeout:
            raise
        except TimeoutError as error:
            raise timed_out(self._late, self._call) from error


class _AsyncClients:
    """Clients of one connection each, the last used first.

    The pool inside an httpx client looks at all its connections for each of them on every request:
    with 32 calls in flight that is three quarters of the work (encode/httpcore, connection_pool).

    Args:
        url: of the server.
        shared: takes every call instead, if given.
    """

    def __init__(self, url: str, shared: httpx.AsyncClient | None) -> None:
        self._idle = [] if shared is None else [shared] * MAX_CONNECTIONS
        self._all = self._idle[:1]
        self._slots = asyncio.Semaphore(MAX_CONNECTIONS)
        self._trust = _trust(url)
        self._closed = False

    @contextlib.asynccontextmanager
    async def take(self) -> AsyncIterator[httpx.AsyncClient]:
        """A client that nobody else uses meanwhile; waits while all are taken."""
        async with self._slots:
            client = self._idle.pop() if self._idle else self._open()
            try:
                yield client
            finally:
                self._idle.append(client)

    async def aclose(self) -> None:
        """Close every client."""
        self._closed = True
        for client in self._all:
            await client.aclose()

    def _open(self) -> httpx.AsyncClient:
        if self._closed:
            raise RuntimeError("Cannot send a request, as the client has been closed.")
        limits = httpx.Limits(max_connections=1, max_keepalive_connections=1)
        client = httpx.AsyncClient(limits=limits, verify=self._trust)
        self._all.append(client)
        return client


def _read(response: httpx.Response, answer: Answer) -> Reply:
    for chunk in response.iter_bytes():
        answer.add(chunk)
    return answer.read(response)


async def _aread(response: httpx.Response, answer: Answer) -> Reply:
    async for chunk in response.aiter_bytes():
        answer.add(chunk)
    return answer.read(response)


def _trust(url: str) -> ssl.SSLContext:
    if httpx.URL(url).scheme == "https":
        return httpx.create_ssl_context()
    # Trusts nobody and is never asked; loading the authorities takes 50 ms.
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

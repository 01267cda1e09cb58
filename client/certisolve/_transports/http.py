"""HTTP/1.1 with safetensors bodies, over httpx."""

import asyncio
import contextlib
import json
import math
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any
from urllib.parse import quote

import httpx

from certisolve._calls import Call, Reply, read_problem
from certisolve._config import CONNECT_TIMEOUT_S, MAX_CONNECTIONS
from certisolve._errors import (
    CertisolveError,
    ConnectionFailed,
    InvalidReply,
    RequestTimeout,
    ServerError,
)
from certisolve.wire import SAFETENSORS, WireError, decode_safetensors, encode_safetensors

from .base import AsyncTransport, Transport

_LIMITS = httpx.Limits(max_connections=MAX_CONNECTIONS, max_keepalive_connections=MAX_CONNECTIONS)
# Fields of floats hardly compress; asking for gzip would only cost time.
_HEADERS = {"User-Agent": "certisolve-python", "Accept-Encoding": "identity"}
#: Characters of a foreign error page that are worth repeating.
_EXCERPT = 200


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
        self._client = client or httpx.Client(limits=_LIMITS)

    def send(self, call: Call) -> Reply:
        answer = Answer(call)
        with map_httpx_errors(call):
            response = self._client.send(self._codec.request(call), stream=True)
            try:
                for chunk in response.iter_bytes():
                    answer.add(chunk)
            finally:
                response.close()
        return answer.read(response)

    def close(self) -> None:
        self._client.close()


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
        self._clients = _AsyncClients(client)

    async def asend(self, call: Call) -> Reply:
        try:
            async with asyncio.timeout(call.timeout_s), self._clients.take() as client:
                return await self._exchange(client, call)
        except RequestTimeout:
            raise
        except TimeoutError as error:
            raise _timed_out("the caller's time is up", call) from error

    async def aclose(self) -> None:
        await self._clients.aclose()

    async def _exchange(self, client: httpx.AsyncClient, call: Call) -> Reply:
        answer = Answer(call)
        with map_httpx_errors(call):
            response = await client.send(self._codec.request(call), stream=True)
            try:
                async for chunk in response.aiter_bytes():
                    answer.add(chunk)
            finally:
                await response.aclose()
        return answer.read(response)


class _AsyncClients:
    """Clients of one connection each, the last used first.

    The pool inside an httpx client looks at all its connections for each of them on every request:
    with 32 calls in flight that is three quarters of the work (encode/httpcore, connection_pool).

    Args:
        shared: takes every call instead, if given.
    """

    def __init__(self, shared: httpx.AsyncClient | None) -> None:
        self._idle = [] if shared is None else [shared] * MAX_CONNECTIONS
        self._all = self._idle[:1]
        self._slots = asyncio.Semaphore(MAX_CONNECTIONS)
        self._certificates = httpx.create_ssl_context() if shared is None else None
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
        if self._closed or self._certificates is None:
            raise RuntimeError("Cannot send a request, as the client has been closed.")
        limits = httpx.Limits(max_connections=1, max_keepalive_connections=1)
        client = httpx.AsyncClient(limits=limits, verify=self._certificates)
        self._all.append(client)
        return client


class HttpCodec:
    """Writes calls as requests."""

    def __init__(self, url: str, connect_timeout_s: float) -> None:
        self._base = _checked(url).rstrip("/")
        self._connect_timeout_s = connect_timeout_s

    def request(self, call: Call) -> httpx.Request:
        """The HTTP request that asks for `call`."""
        method, path, headers = _route(call)
        content = None
        if method == "POST":
            content = _encode_solve(call)
            headers["Content-Type"] = SAFETENSORS
        return httpx.Request(
            method,
            self._base + path,
            headers=_HEADERS | headers,
            content=content,
            extensions={"timeout": self._timeouts(call.timeout_s)},
        )

    def _timeouts(self, total_s: float | None) -> dict[str, float | None]:
        connect_s = (
            self._connect_timeout_s if total_s is None else min(self._connect_timeout_s, total_s)
        )
        return {"connect": connect_s, "read": total_s, "write": total_s, "pool": total_s}


class Answer:
    """Collects a response's body while the call's time lasts, and reads it."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._chunks: list[bytes] = []
        total_s = math.inf if call.timeout_s is None else call.timeout_s
        self._deadline = time.monotonic() + total_s

    def add(self, chunk: bytes) -> None:
        """Append `chunk`.

        Raises:
            RequestTimeout: the server sends so slowly that the call's time is up.
        """
        self._chunks.append(chunk)
        # httpx bounds the wait for each chunk, not for all of them.
        if time.monotonic() > self._deadline:
            raise _timed_out("the server sends too slowly", self._call)

    def read(self, response: httpx.Response) -> Reply:
        """The reply in a complete response.

        Raises:
            ServerError: it is a problem.
            InvalidReply: it is neither a problem nor a reply.
        """
        body = b"".join(self._chunks)
        if response.status_code >= 400:
            raise _decode_problem(response, body)
        if response.status_code >= 300:
            where = response.headers.get("Location", "an unnamed place")
            raise InvalidReply(f"the server redirects to {where}; use its address")
        try:
            if _is_safetensors(response):
                return Reply(*decode_safetensors(body))
            return Reply({}, _decode_object(body))
        except (WireError, ValueError) as error:
            raise InvalidReply(f"the reply is not certisolve's: {error}") from error


@contextlib.contextmanager
def map_httpx_errors(call: Call) -> Iterator[None]:
    """Turn what httpx raises into the SDK's exceptions; the only place that does."""
    try:
        yield
    except httpx.HTTPError as error:
        raise _map(error, call) from error


def _map(error: httpx.HTTPError, call: Call) -> CertisolveError:
    make = next(_HTTPX_ERRORS[cls] for cls in type(error).__mro__ if cls in _HTTPX_ERRORS)
    return make(f"{type(error).__name__}: {error}", call)


def _not_connected(text: str, call: Call) -> ConnectionFailed:
    return ConnectionFailed(f"{call.operation}: could not connect: {text}", sent=False)


def _disconnected(text: str, call: Call) -> ConnectionFailed:
    return ConnectionFailed(f"{call.operation}: the connection broke: {text}")


def _not_http(text: str, call: Call) -> InvalidReply:
    return InvalidReply(f"{call.operation}: {text}")


def _timed_out(text: str, call: Call) -> RequestTimeout:
    return RequestTimeout(f"{call.operation}: no answer within {call.timeout_s:g} s: {text}")


#: The most specific class of an error wins.
_HTTPX_ERRORS: Mapping[type[BaseException], Callable[[str, Call], CertisolveError]] = {
    httpx.ConnectError: _not_connected,
    httpx.ConnectTimeout: _not_connected,
    httpx.ProxyError: _not_connected,
    httpx.UnsupportedProtocol: _not_connected,
    httpx.TimeoutException: _timed_out,
    httpx.NetworkError: _disconnected,
    httpx.ProtocolError: _disconnected,
    httpx.HTTPError: _not_http,
}


def _checked(url: str) -> str:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ValueError(f"url: {error}") from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ValueError(f"url: expected http://host:port or https://host:port, got {url!r}")
    return url


def _route(call: Call) -> tuple[str, str, dict[str, str]]:
    match call.operation:
        case "models":
            return "GET", "/v1/models", {"Accept": "application/json"}
        case "model":
            query = f"?version={quote(call.version, safe='')}" if call.version else ""
            return "GET", _model_path(call) + query, {"Accept": "application/json"}
        case "solve":
            return "POST", _model_path(call) + "/solve", {"Accept": SAFETENSORS} | _deadline(call)
        case "submit_solve":
            # No deadline: the time left is the submission's, not the job's.
            headers = {"Accept": SAFETENSORS, "Prefer": "respond-async"}
            return "POST", _model_path(call) + "/solve", headers
        case "job":
            query = f"?wait_s={call.wait_s:.3f}" if call.wait_s else ""
            return "GET", _job_path(call) + query, {"Accept": SAFETENSORS}
        case "cancel_job":
            return "DELETE", _job_path(call), {"Accept": "application/json"}


def _model_path(call: Call) -> str:
    return f"/v1/models/{quote(call.model, safe='')}"


def _job_path(call: Call) -> str:
    return f"/v1/jobs/{quote(call.job_id, safe='')}"


def _deadline(call: Call) -> dict[str, str]:
    if call.timeout_s is None:
        return {}
    return {"Certisolve-Deadline-Ms": str(max(1, int(call.timeout_s * 1000)))}


def _encode_solve(call: Call) -> bytes:
    version = {"version": call.version} if call.version else {}
    return encode_safetensors(call.tensors, {**version, **call.body})


def _is_safetensors(response: httpx.Response) -> bool:
    content_type: str = response.headers.get("Content-Type", "")
    return content_type.startswith(SAFETENSORS)


def _decode_object(body: bytes) -> dict[str, Any]:
    value = json.loads(body)
    if not isinstance(value, dict):
        raise WireError("", f"expected a JSON object, got {type(value).__name__}")
    return value


def _decode_problem(response: httpx.Response, body: bytes) -> ServerError:
    try:
        problem = _decode_object(body)
    except ValueError:
        # A proxy's page, most likely.
        excerpt = body[:_EXCERPT].decode("utf-8", "replace")
        problem = {"detail": f"HTTP {response.status_code} {response.reason_phrase}: {excerpt}"}
    return read_problem(problem, response.status_code, _retry_after(response))


def _retry_after(response: httpx.Response) -> float | None:
    text = response.headers.get("Retry-After", "")
    return float(text) if text.isascii() and text.isdigit() else None

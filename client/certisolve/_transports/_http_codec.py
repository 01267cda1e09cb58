"""Calls to HTTP requests and back, and what httpx raises to what the SDK raises."""

import contextlib
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import quote

import httpx

from certisolve._calls import Call, Reply, read_problem
from certisolve._errors import (
    CertisolveError,
    ConnectionFailed,
    InvalidReply,
    RequestTimeout,
    ServerError,
)
from certisolve.sequence import SAFETENSORS_SEQ
from certisolve.wire import SAFETENSORS, WireError, decode_safetensors, encode_safetensors

from ._http_sessions import session_route

# Fields of floats hardly compress; asking for gzip would only cost time.
_HEADERS = {"User-Agent": "certisolve-python", "Accept-Encoding": "identity"}
#: Media type of server-sent events.
EVENT_STREAM = "text/event-stream"
#: Characters of a foreign error page that are worth repeating.
_EXCERPT = 200


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
            content = call.data or _encode_solve(call)
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
        self._limit = TimeLimit(call)
        self._chunks: list[bytes] = []

    def add(self, chunk: bytes) -> None:
        """Append `chunk`.

        Raises:
            RequestTimeout: the server sends so slowly that the call's time is up.
        """
        self._chunks.append(chunk)
        self._limit.check("the server sends too slowly")

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
            return Reply({}, decode_object(body))
        except (WireError, ValueError) as error:
            raise InvalidReply(f"the reply is not certisolve's: {error}") from error


class TimeLimit:
    """The end of a call's time, asked for when data arrives."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self.restart()

    def restart(self) -> None:
        """Let the time run from now."""
        total_s = math.inf if self._call.timeout_s is None else self._call.timeout_s
        self._deadline = time.monotonic() + total_s

    def check(self, text: str) -> None:
        """Find out whether there is time left.

        Raises:
            RequestTimeout: there is not; `text` says what was noticed.
        """
        # httpx bounds the wait for each chunk, not for all of them.
        if time.monotonic() > self._deadline:
            raise timed_out(text, self._call)


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


def timed_out(text: str, call: Call) -> RequestTimeout:
    """The exception for a call whose time is up; `text` says when it was noticed."""
    return RequestTimeout(f"{call.operation}: no answer within {call.timeout_s:g} s: {text}")


#: The most specific class of an error wins.
_HTTPX_ERRORS: Mapping[type[BaseException], Callable[[str, Call], CertisolveError]] = {
    httpx.ConnectError: _not_connected,
    httpx.ConnectTimeout: _not_connected,
    httpx.ProxyError: _not_connected,
    httpx.UnsupportedProtocol: _not_connected,
    httpx.TimeoutException: timed_out,
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


#: What is computed while the caller waits, at paths of the same names.
_COMPUTED = frozenset({"solve", "certify", "jvp", "vjp"})
#: What is computed as a job, and at which paths.
_SUBMITTED = {"submit_solve": "solve", "submit_certify": "certify"}


def _route(call: Call) -> tuple[str, str, dict[str, str]]:
    if call.operation in _COMPUTED:
        headers = {"Accept": SAFETENSORS} | call.terms | _deadline(call)
        return "POST", f"{_model_path(call)}/{call.operation}", headers
    if call.operation in _SUBMITTED:
        # No deadline: the time left is the submission's, not the job's.
        headers = {"Accept": SAFETENSORS, "Prefer": "respond-async"} | call.terms
        return "POST", f"{_model_path(call)}/{_SUBMITTED[call.operation]}", headers
    match call.operation:
        case "models":
            return "GET", "/v1/models", {"Accept": "application/json"}
        case "model":
            query = f"?version={quote(call.version, safe='')}" if call.version else ""
            return "GET", _model_path(call) + query, {"Accept": "application/json"}
        case "stream":
            # No deadline: the time is that of each wait, not of the solution.
            headers = {"Accept": SAFETENSORS_SEQ} | call.terms
            return "POST", _model_path(call) + "/solve/stream", headers
        case "job":
            query = f"?wait_s={call.wait_s:.3f}" if call.wait_s else ""
            return "GET", _job_path(call) + query, {"Accept": SAFETENSORS}
        case "watch_job":
            return "GET", _job_path(call) + "/events", {"Accept": EVENT_STREAM}
        case "cancel_job":
            return "DELETE", _job_path(call), {"Accept": "application/json"}
        case _:
            method, path, headers = session_route(call)
            return method, path, headers | call.terms | _deadline(call)


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


def decode_object(body: bytes) -> dict[str, Any]:
    """A JSON object.

    Raises:
        ValueError: not one.
    """
    value = json.loads(body)
    if not isinstance(value, dict):
        raise WireError("", f"expected a JSON object, got {type(value).__name__}")
    return value


def _decode_problem(response: httpx.Response, body: bytes) -> ServerError:
    try:
        problem = decode_object(body)
    except ValueError:
        # A proxy's page, most likely.
        excerpt = body[:_EXCERPT].decode("utf-8", "replace")
        problem = {"detail": f"HTTP {response.status_code} {response.reason_phrase}: {excerpt}"}
    return read_problem(problem, response.status_code, _retry_after(response))


def _retry_after(response: httpx.Response) -> float | None:
    text = response.headers.get("Retry-After", "")
    return float(text) if text.isascii() and text.isdigit() else None

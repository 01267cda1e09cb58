"""What only HTTP can do to a client."""

import asyncio
import contextlib
import json
import re
import threading

import httpx
import numpy as np
import pytest
import safetensors.numpy

from certisolve import (
    AsyncClient,
    AsyncHttpTransport,
    CertisolveError,
    Client,
    ConnectionFailed,
    HttpTransport,
    InvalidReply,
    RequestTimeout,
    RetryPolicy,
    Unavailable,
)
from certisolve._calls import Call
from certisolve._config import MAX_CONNECTIONS
from certisolve._transports._http_codec import map_httpx_errors
from certisolve.wire import SAFETENSORS

from .servers import serve_bytes

ONCE = RetryPolicy(max_attempts=1)
MODELS = b'{"models": []}'


def response(status, body, content_type="application/json", **headers):
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {content_type}", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def answer(*args, **kwargs):
    return lambda connection: connection.sendall(response(*args, **kwargs))


def hang_up(connection):
    """Close without an answer, as a server that dies does."""


@contextlib.contextmanager
def open_on(http_door, *scripts, requests=None, **options):
    with (
        serve_bytes(*scripts, requests=requests) as address,
        http_door.open(f"http://{address}", **options) as client,
    ):
        yield client


def test_a_connection_lost_before_the_answer_is_made_again(http_door, clock):
    with open_on(http_door, hang_up, hang_up, answer("200 OK", MODELS), clock=clock) as client:
        assert client.models() == []
    assert len(clock.naps) == 2


def test_a_submission_that_may_have_arrived_is_repeated_under_its_key(http_door, clock):
    accepted = answer("202 Accepted", b'{"id": "j", "status": "queued"}')
    requests = []
    with open_on(http_door, hang_up, accepted, clock=clock, requests=requests) as client:
        assert client.submit_solve("double", {"u0": [1.0]}).id == "j"
    keys = [re.search(rb"idempotency-key: (\w{32})\r\n", request) for request in requests]
    assert keys[0][1] == keys[1][1]


def test_a_body_cut_short_is_a_broken_connection(http_door):
    cut = response("200 OK", MODELS)[:-4]
    with (
        open_on(http_door, lambda c: c.sendall(cut), retry=ONCE) as client,
        pytest.raises(ConnectionFailed),
    ):
        client.models()


def test_a_server_that_drips_cannot_outlast_the_callers_time(http_door):
    done = threading.Event()

    def drip(connection):
        connection.sendall(response("200 OK", MODELS * 1000)[:200])
        while not done.wait(0.02):
            connection.sendall(b" ")

    with open_on(http_door, drip, timeout=0.2) as client:
        with pytest.raises(RequestTimeout, match="no answer within"):
            client.models()
        done.set()


def test_a_proxys_page_is_unavailable_and_quoted(http_door):
    page = answer("502 Bad Gateway", b"<h1>no upstream</h1>", "text/html", Retry_After="3")
    with (
        open_on(http_door, page, retry=ONCE) as client,
        pytest.raises(Unavailable, match="no upstream") as caught,
    ):
        client.models()
    assert (caught.value.code, caught.value.status) == ("", 502)
    assert caught.value.retry_after_s == 3.0


def test_a_retry_after_date_is_no_number_of_seconds(http_door):
    date = answer("503 No", b"{}", Retry_After="Wed, 21 Oct 2026 07:28:00 GMT")
    with (
        open_on(http_door, date, retry=ONCE) as client,
        pytest.raises(Unavailable) as caught,
    ):
        client.models()
    assert caught.value.retry_after_s is None


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(answer("200 OK", b"<html>", "text/html"), id="a-web-page"),
        pytest.param(answer("200 OK", b"[]"), id="another-api"),
        pytest.param(answer("200 OK", b"{}"), id="another-object"),
        pytest.param(answer("200 OK", b"\x00" * 4, SAFETENSORS), id="cut-safetensors"),
        pytest.param(answer("307 Moved", b"", Location="https://other/"), id="a-redirect"),
    ],
)
def test_an_answer_that_is_not_certisolves_says_so(http_door, script):
    with (
        open_on(http_door, script, retry=ONCE) as client,
        pytest.raises(InvalidReply, match=r"certisolve|https://other/"),
    ):
        client.models()


def test_another_protocol_is_no_connection(http_door):
    with (
        open_on(http_door, lambda c: c.sendall(b"SSH-2.0-x\r\n\r\n"), retry=ONCE) as client,
        pytest.raises(ConnectionFailed, match="illegal"),
    ):
        client.models()


def test_calls_share_a_connection(http_door):
    def answer_twice(connection):
        connection.sendall(response("200 OK", MODELS))
        assert connection.recv(1 << 16)
        connection.sendall(response("200 OK", MODELS))

    with open_on(http_door, answer_twice) as client:
        assert client.models() == client.models() == []


def test_the_request_is_what_the_contract_says():
    seen = []

    def record(request):
        seen.append(request)
        return httpx.Response(400, json={"code": "wrong_shape", "detail": "no"})

    http = httpx.Client(transport=httpx.MockTransport(record))
    transport = HttpTransport("http://host/prefix/", client=http)
    with Client("http://host", transport=transport, retry=ONCE) as client:
        with pytest.raises(CertisolveError):
            client.solve("a/b", {"u0": [1.0, 2.0]}, parameters={"nu": 1}, version="3", timeout=2)
        with pytest.raises(CertisolveError):
            client.submit_solve("m", {"u0": [1.0]})
        with pytest.raises(CertisolveError):
            client.model("m", version="1&2")
    solve, submit, model = seen
    assert str(solve.url) == "http://host/prefix/v1/models/a%2Fb/solve"
    assert solve.headers["Content-Type"] == solve.headers["Accept"] == SAFETENSORS
    assert 1900 < int(solve.headers["Certisolve-Deadline-Ms"]) <= 2000
    np.testing.assert_array_equal(safetensors.numpy.load(solve.content)["u0"], [1.0, 2.0])
    length = int.from_bytes(solve.content[:8], "little")
    metadata = json.loads(solve.content[8 : 8 + length])["__metadata__"]
    assert json.loads(metadata["certisolve"]) == {"version": "3", "parameters": {"nu": 1.0}}
    assert submit.headers["Prefer"] == "respond-async"
    assert "Certisolve-Deadline-Ms" not in submit.headers
    assert model.url.query == b"version=1%262"


def test_tls_to_a_clear_text_port_fails_as_a_connection(http_door, servers):
    url = servers[1]["http"].replace("http://", "https://")
    with http_door.open(url, retry=ONCE) as client, pytest.raises(ConnectionFailed) as caught:
        client.models()
    assert not caught.value.sent


def all_httpx_errors():
    waiting, found = [httpx.HTTPError], []
    while waiting:
        kind = waiting.pop()
        found.append(kind)
        waiting += kind.__subclasses__()
    return sorted(set(found), key=lambda kind: kind.__name__)


@pytest.mark.parametrize("kind", all_httpx_errors())
def test_every_error_of_httpx_is_translated(kind):
    request = httpx.Request("GET", "http://host")
    options = {"request": request, "response": httpx.Response(500)}
    if kind is not httpx.HTTPStatusError:
        options = {}
    with (
        pytest.raises(CertisolveError) as caught,
        map_httpx_errors(Call(operation="models", timeout_s=1.0)),
    ):
        raise kind("text", **options)
    assert isinstance(caught.value.__cause__, kind)
    assert "models" in str(caught.value)
    timed_out = issubclass(kind, httpx.TimeoutException) and kind is not httpx.ConnectTimeout
    assert isinstance(caught.value, RequestTimeout) == timed_out


def test_a_call_that_waits_for_a_connection_keeps_its_time(backend, servers):
    url = servers[1]["http"]

    async def crowd():
        async with httpx.AsyncClient(limits=httpx.Limits(max_connections=1)) as http:
            transport = AsyncHttpTransport(url, client=http)
            client = AsyncClient(url, transport=transport, timeout=0.1, retry=ONCE)
            calls = [client.solve("stuck", {"u0": [1.0]}) for _ in range(MAX_CONNECTIONS + 1)]
            return await asyncio.gather(*calls, return_exceptions=True)

    assert all(isinstance(outcome, RequestTimeout) for outcome in asyncio.run(crowd()))

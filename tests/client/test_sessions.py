"""Sessions of the SDK, against a server that is a function."""

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from certisolve import (
    AsyncClient,
    Call,
    Client,
    ConnectionFailed,
    InvalidReply,
    MockTransport,
    NotFound,
    Reply,
    RetryPolicy,
    SessionInfo,
)
from certisolve.wire import decode_safetensors

INFO = {
    "id": "s1",
    "model": {"name": "m", "version": "1", "digest": "d"},
    "t": 1.5,
    "sequence": 2,
    "state_bytes": 64,
    "expires_in_s": 60.0,
    "gain": 0.5,
    "noise_gain": 3.0,
}
FORECAST = {
    "axes": {"x": ["t", "state"]},
    "t": [2.0],
    "status": "ok",
    "diagnostics": None,
    "timings_ms": {"queue": 0.0, "batch": 0.0, "compute": 0.0},
    "batch_size": 0,
    "model": INFO["model"],
}
X = np.zeros(2, np.float32)


class Server:
    """Answers, and remembers what it was asked.

    Arguments:
        fail: raises instead, where it wants to.
    """

    def __init__(self, fail: Callable[[Call], None] = lambda call: None) -> None:
        self.calls: list[Call] = []
        self._fail = fail

    def __call__(self, call: Call) -> Reply:
        self.calls.append(call)
        self._fail(call)
        if call.operation == "predict":
            return Reply({"x": X[None]}, FORECAST)
        if call.operation == "snapshot":
            return Reply({"inputs.x": X}, {"kind": "session"})
        return Reply({}, {} if call.operation == "close_session" else INFO)

    @property
    def operations(self) -> list[str]:
        return [call.operation for call in self.calls]


def client_of(server: Server, **options: Any) -> Client:
    retry = RetryPolicy(max_attempts=2, base_delay_s=0.0)
    return Client("http://host", transport=MockTransport(server), retry=retry, **options)


def test_a_with_block_opens_and_closes() -> None:
    server = Server()
    with client_of(server).session("m", {"x": X}, t=1.5) as session:
        assert session.info == SessionInfo(**{**INFO, "model": session.info.model})
        assert (session.id, session.t) == ("s1", 1.5)
        forecast = session.predict(2.0)
        np.testing.assert_array_equal(forecast.t, [2.0])
    assert server.operations == ["open_session", "predict", "close_session"]
    assert {call.session_id for call in server.calls[1:]} == {"s1"}


def test_what_is_left_out_is_not_sent() -> None:
    server = Server()
    client_of(server).session("m", {"x": X})
    assert server.calls[0].body == {"model": "m", "t": 0.0}
    client_of(server).session(
        "m",
        {"x": X},
        parameters={"nu": 1},
        horizon_steps=5,
        gain=0.5,
        automatic_gain=True,
        max_noise_gain=9,
        ttl=60,
        version="2",
    )
    assert server.calls[1].body == {
        "model": "m",
        "t": 0.0,
        "parameters": {"nu": 1.0},
        "options": {
            "automatic_gain": True,
            "gain": 0.5,
            "max_noise_gain": 9.0,
            "ttl_s": 60.0,
            "horizon_steps": 5,
        },
    }
    assert server.calls[1].version == "2"


def test_terms_are_those_of_client_session_and_call() -> None:
    server = Server()
    client = client_of(server, tenant="team", timeout=50)
    session = client.session("m", {"x": X}, priority="high", timeout=5)
    session.observe(2.0, {"x": X})
    session.observe(2.0, {"x": X}, timeout=1)
    session.predict(2.0, timeout=2)
    assert [call.timeout_s for call in server.calls] == [5, 5, 1, 2]
    assert {(call.tenant, call.priority) for call in server.calls} == {("team", "high")}


def test_a_single_time_needs_no_axis_and_several_have_one() -> None:
    server = Server()
    session = client_of(server).session("m", {"x": X})
    session.observe(2.0, {"x": [1.0, 2.0]}, mask={"x": [True, False]})
    session.observe([2.0, 3.0], {"x": [[1.0, 2.0], [3.0, 4.0]]})
    one, two = server.calls[1:]
    assert (one.body, two.body) == ({"t": [2.0]}, {"t": [2.0, 3.0]})
    assert (one.tensors["x"].shape, two.tensors["x"].shape) == ((1, 2), (2, 2))
    assert one.tensors["x"].dtype == np.float32
    np.testing.assert_array_equal(one.tensors["masks.x"], [[True, False]])


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda s: s.observe(np.nan, {"x": X}), ValueError),
        (lambda s: s.observe(1.0, {"x": "word"}), TypeError),
        (lambda s: s.observe(1.0, {"x": X}, mask={"x": [1.0, 0.0]}), TypeError),
        (lambda s: s.predict([]), ValueError),
        (lambda s: s.predict(np.inf), ValueError),
        (lambda s: s.predict(1.0, timeout=-1), ValueError),
    ],
)
def test_what_cannot_be_sent_is_refused_here(call, error) -> None:
    server = Server()
    session = client_of(server).session("m", {"x": X})
    with pytest.raises(error):
        call(session)
    assert server.operations == ["open_session"]


@pytest.mark.parametrize(
    "options",
    [{"gain": np.inf}, {"horizon_steps": 0}, {"t": np.nan}, {"priority": "urgent"}, {"ttl": "h"}],
)
def test_a_session_that_cannot_be_is_refused_here(options) -> None:
    server = Server()
    with pytest.raises(ValueError):  # noqa: PT011 - which one, depends on the option
        client_of(server).session("m", {"x": X}, **options)
    assert not server.calls


def test_a_lost_answer_is_asked_for_again() -> None:
    lost = iter([True])

    def fail(call: Call) -> None:
        if call.operation == "observe" and next(lost, False):
            raise ConnectionFailed("broken")

    server = Server(fail)
    client_of(server).session("m", {"x": X}).observe(2.0, {"x": X})
    assert server.operations == ["open_session", "observe", "observe"]


def test_closing_a_session_that_is_gone_is_no_error() -> None:
    def fail(call: Call) -> None:
        if call.operation == "close_session":
            raise NotFound("unknown_session", "gone")

    with client_of(Server(fail)).session("m", {"x": X}):
        pass


def test_what_happened_inside_is_not_hidden_by_a_server_that_cannot_be_told() -> None:
    def fail(call: Call) -> None:
        if call.operation == "close_session":
            raise ConnectionFailed("broken")

    client = client_of(Server(fail))
    with pytest.raises(ZeroDivisionError), client.session("m", {"x": X}):
        raise ZeroDivisionError
    with pytest.raises(ConnectionFailed), client.session("m", {"x": X}):
        pass


def test_a_snapshot_is_bytes_that_restore_takes() -> None:
    server = Server()
    client = client_of(server)
    data = client.session("m", {"x": X}).snapshot()
    tensors, metadata = decode_safetensors(data)
    assert (list(tensors), metadata) == (["inputs.x"], {"kind": "session"})
    assert client.restore_session(data).id == "s1"
    assert server.calls[-1].data == data
    assert client.attach_session("s1").refresh().sequence == 2
    assert server.operations[-2:] == ["get_session", "get_session"]


def test_a_reply_that_is_no_session_is_told() -> None:
    client = Client("http://host", transport=MockTransport(lambda call: Reply({}, {"id": "s"})))
    with pytest.raises(InvalidReply, match="session"):
        client.session("m", {"x": X})


def test_the_asynchronous_session_asks_the_same() -> None:
    def run(server: Server) -> None:
        client = client_of(server)
        with client.session("m", {"x": X}, gain=0.5) as session:
            session.observe(2.0, {"x": X}, mask={"x": [True, False]})
            session.predict([2.5])
            session.refresh()
            client.restore_session(session.snapshot()).close()
            client.attach_session("s1")

    async def arun(server: Server) -> None:
        client = AsyncClient("http://host", transport=MockTransport(server))
        async with await client.session("m", {"x": X}, gain=0.5) as session:
            await session.observe(2.0, {"x": X}, mask={"x": [True, False]})
            await session.predict([2.5])
            await session.refresh()
            await (await client.restore_session(await session.snapshot())).close()
            await client.attach_session("s1")
            assert (session.id, session.t) == ("s1", 1.5)

    one, other = Server(), Server()
    run(one)
    asyncio.run(arun(other))
    assert one.operations == other.operations
    for call, twin in zip(one.calls, other.calls, strict=True):
        assert (call.body, call.session_id, call.data) == (twin.body, twin.session_id, twin.data)
        assert call.tensors.keys() == twin.tensors.keys()

"""The loops, against a real server and against ones that misbehave."""

import asyncio
import contextlib

import numpy as np
import pytest

from certisolve_server.bench import (
    UNANSWERED,
    AbstractConnection,
    AbstractDoor,
    Answer,
    Bounds,
    Load,
    SolveInputs,
    closed_loop,
    measure,
    open_door,
    open_loop,
    summarise,
)

INPUTS = SolveInputs({"u0": np.ones(16, np.float32)}, {})


class Scripted(AbstractDoor, AbstractConnection):
    """A door whose answers take a given time."""

    def __init__(self, service_s):
        self.service_s = service_s
        self.under_way = 0
        self.most_under_way = 0

    def prepare(self, model, version, inputs):
        return b""

    async def connect(self):
        return self

    async def send(self, request):
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await asyncio.sleep(self.service_s)
        finally:
            self.under_way -= 1
        return Answer("ok", 1)

    async def aclose(self):
        pass


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_a_closed_loop_counts_every_answer_of_a_real_server(server, scheme):
    door = open_door(server.url(scheme))
    load = Load(4, Bounds(5.0, 200), warm_up_s=0)
    summary = summarise(measure(door, [door.prepare("double", None, INPUTS)], load))
    assert summary.num_ok == 200
    assert summary.errors == {}
    assert 1 <= summary.mean_batch_size <= 4


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_errors_are_counted_by_the_servers_code(server, scheme):
    door = open_door(server.url(scheme))
    wrong = SolveInputs({"u0": np.ones(17, np.float32)}, {})
    requests = [door.prepare("double", None, each) for each in (INPUTS, wrong)]
    load = Load(1, Bounds(5.0, 10), warm_up_s=0)
    summary = summarise(measure(door, requests, load))
    assert summary.num_ok == 5
    assert summary.errors == {"unvalidated_resolution": 5}


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_nobody_listening_is_an_os_error(scheme, unused_tcp_port):
    door = open_door(f"{scheme}://127.0.0.1:{unused_tcp_port}")
    with pytest.raises(OSError, match=r"."):
        measure(door, [b""], Load(1, Bounds(0.1, 1)))


@pytest.fixture
def unused_tcp_port():
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.anyio
async def test_a_closed_loop_keeps_exactly_its_connections_busy():
    door = Scripted(service_s=0.001)
    measurement = await closed_loop(door, [b""], 3, Bounds(5.0, 30))
    assert door.most_under_way == 3
    assert measurement.codes == {"ok": 30}


@pytest.mark.anyio
async def test_an_open_loop_does_not_wait_for_answers_before_it_asks_again():
    door = Scripted(service_s=0.2)
    measurement = await open_loop(door, [b""], np.linspace(0, 0.01, 10), 10, Bounds(1.0, 10))
    assert door.most_under_way == 10
    assert measurement.codes == {"ok": 10}


@pytest.mark.anyio
async def test_waiting_for_a_free_connection_counts_as_latency():
    # Four requests due together, one connection: the last waits for three others.
    door = Scripted(service_s=0.05)
    measurement = await open_loop(door, [b""], np.zeros(4), 1, Bounds(1.0, 4))
    assert max(measurement.latencies_s) >= 4 * 0.05
    assert min(measurement.latencies_s) >= 0.05


@pytest.mark.anyio
async def test_a_server_that_never_answers_does_not_hold_a_closed_loop():
    bounds = Bounds(0.05, 100, grace_s=0.05)
    measurement = await closed_loop(Scripted(service_s=1000), [b""], 3, bounds)
    assert measurement.codes == {UNANSWERED: 3}


@pytest.mark.anyio
async def test_what_was_due_and_never_sent_counts_as_unanswered():
    bounds = Bounds(0.05, 100, grace_s=0.05)
    measurement = await open_loop(Scripted(service_s=1000), [b""], np.zeros(7), 2, bounds)
    assert measurement.codes == {UNANSWERED: 7}


@pytest.mark.anyio
@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 502 Bad\r\n\r\n"])
async def test_a_stranger_instead_of_the_server_is_an_error_not_a_hang(answer):
    async def speak(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        with contextlib.suppress(ConnectionError):
            await writer.drain()
        writer.close()

    stranger = await asyncio.start_server(speak, "127.0.0.1", 0)
    async with stranger:
        host, port = stranger.sockets[0].getsockname()
        door = open_door(f"http://{host}:{port}")
        request = door.prepare("double", None, INPUTS)
        measurement = await closed_loop(door, [request], 1, Bounds(1.0, 2, grace_s=1.0))
    assert measurement.codes["ok"] == 0
    assert measurement.codes.total() >= 1


@pytest.mark.parametrize("url", ["http://192.0.2.1:8000", "grpc://example.com"])
def test_another_machine_is_loaded_only_when_told_so(url):
    with pytest.raises(ValueError, match="--allow-remote"):
        open_door(url)
    open_door(url, allow_remote=True)


@pytest.mark.parametrize("url", ["http://localhost:1", "http://127.0.0.1:1", "grpc://[::1]:1"])
def test_this_machine_needs_no_permission(url):
    open_door(url)

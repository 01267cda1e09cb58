"""Frames arrive once and in order over every transport, with and without await, come what may."""

import asyncio
import contextlib
import socket
import threading
import time

import numpy as np
import pytest

from certisolve import (
    AsyncClient,
    Client,
    ConnectionFailed,
    InternalServerError,
    InvalidReply,
    InvalidRequest,
    MockTransport,
    NotFound,
    Overloaded,
    Reply,
    RequestTimeout,
    RetryPolicy,
)
from certisolve.sequence import SAFETENSORS_SEQ, pack
from certisolve.wire import SAFETENSORS, encode_safetensors

from .servers import DIGEST, Refused, serve_bytes, unused_port

U0 = np.array([1.0, 2.0, 3.0, 4.0], np.float32)
INPUTS = {"u0": U0}


def closed(backend, number=1):
    """Whether so many streams of the server have ended, in time."""
    return all(backend.closed_streams.acquire(timeout=5) for _ in range(number))


# --- What arrives ---------------------------------------------------------------------------------


def test_frames_arrive_with_all_that_is_known_of_them(client):
    with client.stream("double", INPUTS, steps=3) as frames:
        told = list(frames)
    assert [(frame.index, frame.step, frame.t) for frame in told] == [
        (0, 1, 0.5),
        (1, 2, 1.0),
        (2, 3, 1.5),
    ]
    for frame in told:
        np.testing.assert_array_equal(frame.fields["u"], 2 * frame.step * U0)
        np.testing.assert_array_equal(frame.coords["x"], [0, 0.25, 0.5, 0.75])
        assert frame.axes == {"u": ("x",)}
        assert frame.num_frames == 3
        assert frame.model == ("double", "2", DIGEST)


def test_the_summary_says_how_far_to_trust_them(client):
    frames = client.stream("double", INPUTS, steps=2)
    assert len(list(frames)) == 2
    summary = frames.summary
    assert (summary.fields, summary.status) == ({}, "ok")
    assert summary.t.tolist() == [0.5, 1.0]
    assert summary.diagnostics.expected_error == 0.01
    assert summary.timings_ms == (1.0, 2.0, 3.0)
    assert summary.batch_size == 5


def test_frames_add_up_to_the_solution(client):
    frames = client.stream("double", INPUTS, steps=3)
    told = list(frames)
    solution = frames.solution(told)
    np.testing.assert_array_equal(solution.fields["u"], np.outer([2, 4, 6], U0))
    assert solution.axes == {"u": ("t", "x")}
    assert solution.to_xarray()["u"].dims == ("t", "x")
    assert not solution.fields["u"].flags.writeable
    for some in (told[1:], told[:2], told[::-1]):
        with pytest.raises(ValueError, match="all 3 of the stream"):
            frames.solution(some)


def test_a_frame_is_a_dataset(client):
    first = next(client.stream("double", INPUTS))
    dataset = first.to_xarray()
    assert dataset["u"].dims == ("x",)
    assert (float(dataset["t"]), dataset.attrs["model_name"]) == (0.5, "double")
    np.testing.assert_array_equal(dataset["x"], first.coords["x"])


def test_the_summary_comes_after_the_last_frame(client):
    frames = client.stream("double", INPUTS)
    next(frames)
    with pytest.raises(RuntimeError, match="after the last frame"):
        _ = frames.summary
    frames.close()
    with pytest.raises(RuntimeError, match="after the last frame"):
        _ = frames.summary


def test_fewer_frames_come_of_what_diverges(client):
    frames = client.stream("diverging", INPUTS, steps=3)
    [only] = frames
    assert only.num_frames == 3
    assert frames.summary.status == "diverged"
    assert frames.solution([only]).fields["u"].shape == (1, 4)


def test_a_frame_is_there_before_the_next_is_computed(client, backend):
    frames = client.stream("stuck", INPUTS)
    assert next(frames).step == 1
    assert not backend.released.is_set()
    backend.released.set()
    assert [frame.step for frame in frames] == [2, 3]


def test_what_the_caller_asks_for_reaches_the_server(door, url, backend):
    with door.open(url, tenant="lab") as client:
        options = {
            "tolerance": 0.1,
            "steps": 9,
            "save_every": 2,
            "resume_from": 4,
            "rtol": 0.5,
            "atol": 0.25,
        }
        with client.stream(
            "double",
            INPUTS,
            parameters={"nu": 0.5},
            version="1",
            diagnostics=False,
            priority="high",
            timeout=7.0,
            **options,
        ) as frames:
            assert [frame.step for frame in frames] == [6, 8, 9]
    [request] = backend.requests
    assert (request.parameters, request.version) == ({"nu": 0.5}, "1")
    assert (request.tenant, request.priority, request.idempotency_key) == ("lab", "high", None)
    assert not request.diagnostics
    assert request.deadline_s is None  # of each frame, not of all


def test_nothing_is_sent_before_a_frame_is_asked_for(client, backend):
    client.stream("double", INPUTS)
    with client.stream("double", INPUTS):
        pass
    assert not backend.requests


def test_large_frames_arrive_whole(client):
    u0 = np.arange(1 << 20, dtype=np.float32)
    told = list(client.stream("double", {"u0": u0}, steps=3))
    np.testing.assert_array_equal(told[-1].fields["u"], 6 * u0)


def test_an_argument_that_there_is_not_is_refused_by_name(client, backend):
    for call in (client.stream, client.submit_solve):
        with pytest.raises(TypeError, match="unexpected keyword argument 'stpes'"):
            call("double", INPUTS, stpes=3)
    assert not backend.requests


# --- Its end --------------------------------------------------------------------------------------


def test_leaving_early_ends_the_computation(client, backend):
    with client.stream("stuck", INPUTS) as frames:
        next(frames)
    assert closed(backend)
    assert list(frames) == []


def test_closing_it_twice_is_closing_it(client, backend):
    frames = client.stream("stuck", INPUTS)
    next(frames)
    frames.close()
    frames.close()
    assert closed(backend)


def test_a_refused_request_is_refused_when_it_is_sent(client, backend):
    backend.refusals = [Refused("invalid_option", "options.save_every")]
    with pytest.raises(InvalidRequest) as raised:
        next(client.stream("double", INPUTS))
    assert raised.value.field == "options.save_every"
    with pytest.raises(NotFound):
        next(client.stream("problem-unknown_model", INPUTS))
    assert len(backend.requests) == 2


def test_overload_is_waited_out(client, backend, clock):
    backend.refusals = [Refused("queue_full", retry_after_s=2.0), Refused("shutting_down")]
    assert len(list(client.stream("double", INPUTS))) == 3
    assert 2.0 < clock.naps[0] < 2.2


def test_overload_that_lasts_is_reported(client, backend):
    backend.refusals = [Refused("queue_full")] * 9
    with pytest.raises(Overloaded):
        next(client.stream("double", INPUTS))
    assert len(backend.requests) == RetryPolicy().max_attempts


def test_a_failure_after_the_first_frame_is_raised_after_it(client, backend):
    frames = client.stream("failing", INPUTS)
    assert next(frames).step == 1
    with pytest.raises(InternalServerError, match="because of internal"):
        next(frames)
    assert list(frames) == []
    assert len(backend.requests) == 1


def test_silence_is_given_up_and_slow_readers_are_not(door, url, backend):
    with door.open(url, timeout=0.3) as client:
        frames = client.stream("double", INPUTS)
        for _ in frames:
            time.sleep(0.2)  # more in all than a single wait may take
        assert frames.summary.status == "ok"
        for model in ("stuck", "silent"):
            with pytest.raises(RequestTimeout, match="stream"):
                list(client.stream(model, INPUTS))
            assert closed(backend)
    assert len(backend.requests) == 3


# --- Connections that break -----------------------------------------------------------------------


@pytest.mark.parametrize("cut", [0, 1, 2, 3, 4, 5])
def test_a_broken_stream_goes_on_after_the_last_frame(client, backend, clock, cut):
    backend.cuts = [cut]
    frames = client.stream("double", INPUTS, steps=4)
    told = list(frames)
    assert [(frame.index, frame.step) for frame in told] == [(0, 1), (1, 2), (2, 3), (3, 4)]
    for frame in told:
        np.testing.assert_array_equal(frame.fields["u"], 2 * frame.step * U0)
    assert frames.summary.t.tolist() == [0.5, 1.0, 1.5, 2.0]
    np.testing.assert_array_equal(frames.solution(told).fields["u"][:, 0], [2, 4, 6, 8])
    assert len(clock.naps) == 1
    first, second = backend.requests
    assert first.resume_from is None
    # The last one again: otherwise nothing might be left to ask for.
    assert second.resume_from == (cut - 2 if cut > 2 else None)
    assert second.version == ("2" if cut else "")


def test_a_stream_that_breaks_again_and_again_goes_on_while_it_gets_further(client, backend):
    backend.cuts = [2, 3, 3, 3, 3, 3, 3, 3, 3]
    told = list(client.stream("double", INPUTS, steps=9))
    assert [frame.step for frame in told] == list(range(1, 10))
    assert [request.resume_from for request in backend.requests] == [None, None, *range(1, 9)][:10]


def test_a_stream_that_gets_no_further_is_reported(client, backend, clock):
    backend.cuts = [2] * 9
    frames = client.stream("double", INPUTS)
    assert next(frames).step == 1
    with pytest.raises(ConnectionFailed):
        next(frames)
    assert len(backend.requests) == 1 + RetryPolicy().max_attempts - 1
    assert len(clock.naps) == RetryPolicy().max_attempts - 1


def test_a_policy_of_one_attempt_reports_the_first_break(door, url, backend):
    backend.cuts = [3]
    with door.open(url, retry=RetryPolicy(max_attempts=1)) as client:
        frames = client.stream("double", INPUTS)
        assert [next(frames).step, next(frames).step] == [1, 2]
        with pytest.raises(ConnectionFailed):
            next(frames)


def test_what_was_left_out_from_the_beginning_stays_so(client, backend):
    backend.cuts = [3]
    told = list(client.stream("double", INPUTS, steps=8, save_every=2, resume_from=2))
    assert [(frame.index, frame.step) for frame in told] == [(0, 4), (1, 6), (2, 8)]
    assert [request.resume_from for request in backend.requests] == [2, 4]


def test_frames_of_two_programs_are_not_mixed(client, backend):
    backend.cuts, backend.digests = [3], [DIGEST, "cd" * 32]
    frames = client.stream("double", INPUTS)
    next(frames)
    next(frames)
    with pytest.raises(InvalidReply, match="another program answers"):
        next(frames)


def test_nobody_at_the_address_is_reported(door, clock):
    with (
        door.open(f"{door.scheme}://127.0.0.1:{unused_port()}", clock=clock) as client,
        pytest.raises(ConnectionFailed) as raised,
    ):
        next(client.stream("double", INPUTS))
    assert not raised.value.sent


def test_a_closed_client_streams_nothing(door, url):
    with door.open(url) as client:
        frames = client.stream("double", INPUTS)
        client.aclose() if door.asynchronous else client.close()
        with pytest.raises(RuntimeError, match="closed"):
            next(frames)


def test_many_streams_of_one_client_run_at_once(client, backend):
    with contextlib.ExitStack() as stack:
        streams = [stack.enter_context(client.stream("stuck", INPUTS)) for _ in range(6)]
        assert [next(frames).step for frames in streams] == [1] * 6
        threading.Timer(0.01, backend.released.set).start()
        assert [len(list(frames)) for frames in streams] == [2] * 6


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_an_asynchronous_loop_that_is_left_ends_the_computation(servers, backend, scheme):
    async def peek():
        async with AsyncClient(servers[1][scheme]) as client:
            async for frame in client.stream("stuck", INPUTS):
                assert frame.step == 1
                break
            assert await asyncio.to_thread(closed, backend)

    asyncio.run(peek())


def test_a_loop_that_is_left_ends_the_computation(servers, backend):
    for url in servers[1].values():
        with Client(url) as client:
            for _ in client.stream("stuck", INPUTS):
                break
            assert closed(backend)


@pytest.mark.parametrize("scheme", ["http", "grpc"])
@pytest.mark.parametrize("model", ["stuck", "silent"])
def test_a_task_that_reads_can_be_cancelled(servers, backend, scheme, model):
    async def read():
        async with AsyncClient(servers[1][scheme]) as client:
            async with asyncio.timeout(0.2):
                async for _ in client.stream(model, INPUTS):
                    pass

    with pytest.raises(TimeoutError):
        asyncio.run(read())
    assert closed(backend)


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_two_streams_of_one_event_loop_run_at_once(servers, backend, scheme):
    async def read_two():
        async with (
            AsyncClient(servers[1][scheme]) as client,
            client.stream("stuck", INPUTS) as one,
            client.stream("stuck", INPUTS) as two,
        ):
            assert (await anext(one)).step == (await anext(two)).step == 1
            backend.released.set()
            return [frame.step async for frame in one] + [frame.step async for frame in two]

    assert asyncio.run(read_two()) == [2, 3, 2, 3]


# --- Replies that make no sense -------------------------------------------------------------------

START = Reply(
    {},
    {
        "event": "start",
        "model": {"name": "m", "version": "1", "digest": "d"},
        "num_frames": 2,
        "axes": {"u": ["x"]},
        "t": [1.0, 2.0],
    },
)


def frame(index, **changes):
    return Reply({"u": U0}, {"event": "frame", "index": index, "step": None, "t": 1.0} | changes)


NONSENSE = {
    "no event": [Reply({}, {})],
    "a frame before the start": [frame(0)],
    "a gap": [START, frame(0), frame(2)],
    "a start without a model": [Reply({}, {"event": "start"})],
    "a frame without a time": [START, frame(0, t=None)],
    "a summary of nothing": [START, Reply({}, {"event": "summary"})],
}


@pytest.mark.parametrize("replies", NONSENSE.values(), ids=NONSENSE)
def test_what_is_no_stream_is_an_invalid_reply(replies):
    transport = MockTransport(lambda call: START, events=lambda call: replies)
    with Client("http://nowhere", transport=transport) as client, pytest.raises(InvalidReply):
        list(client.stream("m", INPUTS))


def test_a_model_without_steps_is_asked_for_all_again_and_repeats_nothing(clock):
    calls = []

    def replies(call):
        calls.append(call)
        yield START
        yield frame(0)
        if len(calls) == 1:
            raise ConnectionFailed("gone")
        yield frame(1)
        raise InternalServerError("internal", "enough")

    transport = MockTransport(lambda call: START, events=replies)
    with Client("http://nowhere", transport=transport, clock=clock) as client:
        frames = client.stream("m", INPUTS, t=[1.0, 2.0])
        assert [next(frames).index, next(frames).index] == [0, 1]
    assert [call.body["t"] for call in calls] == [[1.0, 2.0]] * 2
    assert "options" not in calls[1].body


# --- Over HTTP ------------------------------------------------------------------------------------


def body_of(*documents, content_type=SAFETENSORS_SEQ):
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nConnection: close\r\n\r\n".encode()

    def script(connection):
        connection.sendall(b"".join((head, *documents)))
        # The rest of the request is taken in, or the kernel would reset the connection.
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(1 << 16):
            pass

    return script


NO_SEQUENCES = {
    "a page": body_of(b"<html>", content_type="text/html"),
    "one document": body_of(encode_safetensors({}, {}), content_type=SAFETENSORS),
    "no lengths": body_of(b"<!DOCTYPE html>"),
    "no document": body_of(pack(b"of no kind whatever")),
}


@pytest.mark.parametrize("script", NO_SEQUENCES.values(), ids=NO_SEQUENCES)
def test_a_body_that_is_no_sequence_says_so(http_door, script):
    with (
        serve_bytes(script) as address,
        http_door.open(f"http://{address}") as client,
        pytest.raises(InvalidReply, match="not certisolve's"),
    ):
        next(client.stream("double", INPUTS))


def test_a_document_that_is_cut_short_is_a_broken_connection(http_door, clock):
    document = pack(encode_safetensors({}, {"event": "start"}))
    scripts = [body_of(document[:cut]) for cut in (0, 4, 20, len(document) - 1)]
    with (
        serve_bytes(*scripts) as address,
        http_door.open(f"http://{address}", clock=clock) as client,
        pytest.raises(ConnectionFailed, match="ended before its summary"),
    ):
        next(client.stream("double", INPUTS))
    assert len(clock.naps) == 3

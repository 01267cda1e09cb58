"""Streams over both doors of a server whose worker is driven by hand, step by step."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from grpc_status import rpc_status
from hypothesis import given, settings
from hypothesis import strategies as st

from certisolve import AsyncClient, InternalServerError, Overloaded, wire
from certisolve.sequence import SAFETENSORS_SEQ, SILENCE, Unpacker
from certisolve.v1 import problem_pb2, solve_pb2, solve_pb2_grpc, tensor_pb2
from certisolve_server.api.app import create_app
from certisolve_server.api.part_codec import (
    EventRenderer,
    Renderer,
    SequenceRenderer,
    choose_renderer,
)
from certisolve_server.api.streaming import PartsResponse
from certisolve_server.broker import MemoryBroker
from certisolve_server.broker.base import Bounds
from certisolve_server.doors import open_doors
from certisolve_server.errors import InternalError
from certisolve_server.parts import SolvedFrame
from certisolve_server.settings import Settings
from dataplanes import FIELD, Plane
from rolling import Hand, frame_at, rolling_plane, rollout

pytestmark = pytest.mark.anyio
PATH = "/v1/models/drift/solve/stream"
JSON_BODY = {"inputs": {"w": FIELD.tolist(), "f": FIELD.tolist()}, "steps": 3}
BINARY = {"Content-Type": wire.SAFETENSORS}


class Open:
    """A data plane behind real doors.

    Attributes:
        urls: by scheme.
    """

    def __init__(self, plane: Plane, http: str, rpc: str) -> None:
        self.plane = plane
        self.urls = {"http": http, "grpc": f"grpc://{rpc}"}


@contextlib.asynccontextmanager
async def doors_of(plane: Plane) -> AsyncIterator[Open]:
    async with open_doors(Settings(port=0, grpc_port=0), plane.dataplane) as doors:
        serving = asyncio.create_task(doors.serve())
        yield Open(plane, *doors.addresses)
        doors.stop()
        await serving


@pytest.fixture
async def served() -> AsyncIterator[Open]:
    async with doors_of(rolling_plane()) as served:
        yield served


@pytest.fixture
async def http(served: Open) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=served.urls["http"], timeout=10) as client:
        yield client


def indoors(plane: Plane) -> httpx.AsyncClient:
    """A client without a network between, for whole answers."""
    transport = httpx.ASGITransport(create_app(plane.dataplane))
    return httpx.AsyncClient(transport=transport, base_url="http://server")


@pytest.fixture(params=["http", "grpc"])
async def client(request: Any, served: Open) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(served.urls[request.param], timeout=10) as client:
        yield client


async def cancelled(plane: Plane, worker: Hand) -> None:
    """Returns once the job of `worker` was cancelled."""
    state = await plane.broker.state(worker.held.job.id, wait_s=5)
    assert state.status == "cancelled"


# --- Both doors -----------------------------------------------------------------------------------


async def test_a_frame_is_there_before_the_next_step_is_done(client, served):
    worker = asyncio.create_task(Hand.take(served.plane))
    async with client.stream("drift", {"w": FIELD, "f": FIELD}, steps=3) as frames:
        first = asyncio.create_task(anext(frames))
        await (await worker).tell(0)
        assert (await first).step == 1
        await worker.result().tell(1)
        second = await anext(frames)
        np.testing.assert_array_equal(second.fields["v"], frame_at(2)[0])
        np.testing.assert_array_equal(second.coords["x"], np.arange(16) / 16)
        assert (second.index, second.t, second.num_frames) == (1, 0.2, 3)
        assert second.axes == {"v": ("x",), "w": ("x",)}
        await worker.result().finish()
        assert [frame.step async for frame in frames] == [3]
    assert frames.summary.status == "ok"
    assert frames.summary.t.tolist() == [0.1, 0.2, 0.3]
    assert frames.summary.diagnostics.nfe == 3
    assert frames.summary.batch_size == 5


async def test_who_goes_away_ends_the_computation(client, served):
    worker = asyncio.create_task(Hand.take(served.plane))
    async with client.stream("drift", {"w": FIELD, "f": FIELD}, steps=3) as frames:
        first = asyncio.create_task(anext(frames))
        await (await worker).tell(0)
        await first
    await cancelled(served.plane, worker.result())


async def test_who_goes_away_before_the_first_frame_ends_the_computation(client, served):
    worker = asyncio.create_task(Hand.take(served.plane))
    async with client.stream("drift", {"w": FIELD, "f": FIELD}, steps=3) as frames:
        first = asyncio.create_task(anext(frames))
        await worker
        first.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await first
    await cancelled(served.plane, worker.result())


async def test_a_failure_comes_after_the_frames_before_it(client, served):
    worker = asyncio.create_task(Hand.take(served.plane))
    async with client.stream("drift", {"w": FIELD, "f": FIELD}, steps=3) as frames:
        first = asyncio.create_task(anext(frames))
        await (await worker).tell(0)
        await served.plane.broker.fail(worker.result().held, InternalError("the device is gone"))
        assert (await first).step == 1
        with pytest.raises(InternalServerError, match="the device is gone"):
            await anext(frames)


@pytest.mark.parametrize("scheme", ["http", "grpc"])
async def test_a_full_queue_refuses_before_anything_is_told(scheme):
    plane = rolling_plane(broker=MemoryBroker(Bounds(max_jobs=1)))
    await plane.dataplane.submit_solve(rollout())
    async with doors_of(plane) as served, AsyncClient(served.urls[scheme], timeout=1) as client:
        with pytest.raises(Overloaded):
            await anext(client.stream("drift", {"w": FIELD, "f": FIELD}))


@pytest.mark.parametrize("scheme", ["http", "grpc"])
async def test_a_slow_reader_gets_all_frames_and_holds_up_nobody(scheme):
    plane, steps = rolling_plane(), 400
    async with doors_of(plane) as served, AsyncClient(served.urls[scheme], timeout=10) as client:
        worker = asyncio.create_task(Hand.take(plane))
        slow = client.stream("drift", {"w": FIELD, "f": FIELD}, steps=steps)
        reading = asyncio.create_task(anext(slow))
        await (await worker).tell(*range(steps))
        await worker.result().finish()
        other = asyncio.create_task(_read(client, steps=2))
        await (await Hand.take(plane)).finish()
        assert await other == [1, 2]
        told = [await reading, *[frame async for frame in slow]]
        assert [frame.step for frame in told] == list(range(1, steps + 1))


async def _read(client: AsyncClient, **asked: Any) -> list[int | None]:
    async with client.stream("drift", {"w": FIELD, "f": FIELD}, **asked) as frames:
        return [frame.step async for frame in frames]


# --- HTTP -----------------------------------------------------------------------------------------


async def test_people_get_server_sent_events(served, http):
    worker = asyncio.create_task(Hand.take(served.plane))
    async with http.stream("POST", PATH, json=JSON_BODY) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.headers["cache-control"] == "no-store"
        await (await worker).finish()
        text = (await response.aread()).decode()
    events = [dict(line.split(": ", 1) for line in e.split("\n")) for e in text.split("\n\n")[:-1]]
    assert [each["event"] for each in events] == ["start", "frame", "frame", "frame", "summary"]
    start, first, *_, summary = (json.loads(each["data"]) for each in events)
    assert start == {
        "model": {"name": "drift", "version": "1", "digest": "d2"},
        "num_frames": 3,
        "t": [0.1, 0.2, 0.3],
        "axes": {"v": ["x"], "w": ["x"]},
        "coords": {"x": [point / 16 for point in range(16)]},
    }
    assert first == {
        "index": 0,
        "step": 1,
        "t": 0.1,
        "fields": {"v": [2.0] * 16, "w": [1.0] * 16},
    }
    assert summary.keys() == {
        "axes", "t", "status", "diagnostics", "timings_ms", "batch_size", "model", "coords"
    }  # fmt: skip
    assert summary["axes"] == {"v": ["t", "x"], "w": ["t", "x"]}


@pytest.mark.parametrize("accept", [None, wire.SAFETENSORS, SAFETENSORS_SEQ])
async def test_programs_get_documents_behind_their_lengths(served, http, accept):
    worker = asyncio.create_task(Hand.take(served.plane))
    body = wire.encode_safetensors({"w": FIELD, "f": FIELD}, {"steps": 2})
    headers = BINARY if accept is None else {**BINARY, "Accept": accept}
    async with http.stream("POST", PATH, content=body, headers=headers) as response:
        assert response.headers["content-type"] == SAFETENSORS_SEQ
        await (await worker).finish()
        documents = Unpacker().feed(await response.aread())
    parts = [wire.decode_safetensors(document) for document in documents]
    assert [body["event"] for _, body in parts] == ["start", "frame", "frame", "summary"]
    assert [set(tensors) for tensors, _ in parts] == [
        {"coords.x"},
        {"v", "w"},
        {"v", "w"},
        {"coords.x"},
    ]
    np.testing.assert_array_equal(parts[2][0]["v"], frame_at(2)[0])
    assert parts[3][1]["diagnostics"]["nfe"] == 2


async def test_json_may_ask_for_documents_and_safetensors_for_events(served, http):
    asked = [
        ({"json": JSON_BODY}, wire.SAFETENSORS, SAFETENSORS_SEQ),
        (
            {"content": wire.encode_safetensors({"w": FIELD, "f": FIELD}, {})},
            "text/event-stream",
            "text/event-stream",
        ),
    ]
    for body, accept, expected in asked:
        headers = {"Accept": accept} | ({} if "json" in body else BINARY)
        async with http.stream("POST", PATH, headers=headers, **body) as response:
            assert response.headers["content-type"].startswith(expected)
        await cancelled(served.plane, await Hand.take(served.plane))


CHOICES = {
    "nothing": (None, "application/json", EventRenderer),
    "nothing of safetensors": (None, wire.SAFETENSORS, SequenceRenderer),
    "anything": ("*/*", wire.SAFETENSORS, SequenceRenderer),
    "JSON, which parts are not": ("application/json", "application/json", EventRenderer),
    "a list": ("text/html, application/x-safetensors;q=0.9", "", SequenceRenderer),
    "the first of two": ("Text/Event-Stream , application/x-safetensors", "", EventRenderer),
    "nonsense": (";;,=", "", EventRenderer),
}


@pytest.mark.parametrize(("accept", "request_type", "expected"), CHOICES.values(), ids=CHOICES)
async def test_accept_chooses_how_parts_are_written(accept, request_type, expected):
    assert type(choose_renderer(accept, request_type)) is expected


async def test_what_is_no_number_is_null_in_events():
    frame = SolvedFrame(0, 1, 0.5, {"u": np.array([1.0, np.nan, np.inf], np.float32)})
    name, data, *_ = EventRenderer().part(frame).decode().split("\n")
    assert name == "event: frame"
    assert json.loads(data.removeprefix("data: "))["fields"]["u"] == [1.0, None, None]


async def test_a_failure_is_the_last_event(served, http):
    worker = asyncio.create_task(Hand.take(served.plane))
    async with http.stream("POST", PATH, json=JSON_BODY) as response:
        await served.plane.broker.fail((await worker).held, InternalError("the device is gone"))
        last = (await response.aread()).decode().split("\n\n")[-2]
    name, data = last.split("\n")
    problem = json.loads(data.removeprefix("data: "))
    assert name == "event: error"
    assert (problem["code"], problem["status"]) == ("internal", 500)
    assert problem["detail"] == "the device is gone"


REFUSED = {
    "no model": ("nope", JSON_BODY, 404, "unknown_model", "model"),
    "no inputs": ("drift", {"steps": 3}, 422, "missing_input", "inputs.w"),
    "no JSON": ("drift", "{", 400, "malformed_body", None),
    "no step": ("drift", JSON_BODY | {"steps": 0}, 422, "invalid_option", "steps"),
    "half a step": ("drift", JSON_BODY | {"steps": 1.5}, 422, "invalid_option", "steps"),
    "many steps": ("drift", JSON_BODY | {"steps": 2**70}, 422, "invalid_option", "steps"),
    "more steps": ("drift", JSON_BODY | {"steps": 4097}, 422, "out_of_range", "steps"),
    "true steps": ("drift", JSON_BODY | {"steps": True}, 422, "invalid_option", "steps"),
    "two ways": ("drift", JSON_BODY | {"t": [0.1]}, 422, "invalid_option", "steps"),
    "known": (
        "drift",
        JSON_BODY | {"options": {"resume_from": 3}},
        422,
        "invalid_option",
        "options.resume_from",
    ),
    "every half": (
        "drift",
        JSON_BODY | {"options": {"save_every": "2"}},
        422,
        "invalid_option",
        "options.save_every",
    ),
}


@pytest.mark.parametrize(
    ("model", "body", "status", "code", "field"), REFUSED.values(), ids=REFUSED
)
async def test_what_is_refused_is_a_plain_problem(model, body, status, code, field):
    plane, path = rolling_plane(), f"/v1/models/{model}/solve/stream"
    text = body if isinstance(body, str) else json.dumps(body)
    for accept in ("text/event-stream", wire.SAFETENSORS):
        headers = {"Content-Type": "application/json", "Accept": accept}
        async with indoors(plane) as http:
            answer = await http.post(path, content=text, headers=headers)
        assert answer.headers["content-type"] == "application/problem+json"
        assert (answer.status_code, answer.json()["code"]) == (status, code)
        assert answer.json().get("field") == field
    assert (await plane.broker.depth()).num_jobs == 0


anything = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)
numbers = st.integers(-3, 5000) | anything


@settings(max_examples=80, deadline=None)
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "steps": numbers,
            "t": numbers | st.lists(numbers | st.sampled_from([0.1, 0.2]), max_size=3),
            "version": anything,
            "options": anything
            | st.dictionaries(
                st.sampled_from(["save_every", "resume_from", "rtol", "diagnostics", "x"]), numbers
            ),
            "surprise": anything,
        },
    )
)
def test_no_body_is_an_error_of_the_server(rest):
    for media_type in ("application/json", wire.SAFETENSORS):
        if media_type == wire.SAFETENSORS:
            body = wire.encode_safetensors({"w": FIELD, "f": FIELD}, rest)
        else:
            body = json.dumps(rest | {"inputs": JSON_BODY["inputs"]}).encode()
        assert asyncio.run(_status(body, media_type)) < 500


async def _status(body: bytes, media_type: str) -> int:
    """How the server answers, before it is left."""
    plane, statuses, begun = rolling_plane(), [], asyncio.Event()
    requests = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> dict[str, Any]:
        if requests:
            return requests.pop()
        await begun.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])
            begun.set()

    scope = {
        "type": "http",
        "method": "POST",
        "path": PATH,
        "query_string": b"",
        "headers": [(b"content-type", media_type.encode())],
    }
    await create_app(plane.dataplane)(scope, receive, send)
    assert (await plane.broker.depth()).num_jobs == 0
    [status] = statuses
    return int(status)


async def test_a_key_is_refused_by_its_header():
    async with indoors(rolling_plane()) as http:
        answer = await http.post(PATH, json=JSON_BODY, headers={"Idempotency-Key": "again"})
    assert (answer.status_code, answer.json()["field"]) == (422, "Idempotency-Key")


async def test_the_document_of_the_interface_names_streams():
    async with indoors(rolling_plane()) as http:
        paths = (await http.get("/openapi.json")).json()["paths"]
    stream = paths["/v1/models/{model}/solve/stream"]["post"]
    assert set(stream["responses"]["200"]["content"]) == {"text/event-stream", SAFETENSORS_SEQ}
    assert "202" not in stream["responses"]
    assert not {"Prefer", "Idempotency-Key"} & {each["name"] for each in stream["parameters"]}


@pytest.mark.parametrize(
    ("renderer", "silence"),
    [(EventRenderer(), b": still here\n\n"), (SequenceRenderer(), SILENCE)],
    ids=["events", "sequence"],
)
async def test_in_silence_a_sign_of_life_is_sent(renderer: Renderer, silence: bytes):
    plane = rolling_plane()
    stream = await plane.dataplane.stream(rollout())
    worker = await Hand.take(plane)
    sent: list[bytes] = []
    enough = asyncio.Event()

    async def send(message: Any) -> None:
        sent.append(message.get("body", b""))
        if sent.count(silence) == 3:
            enough.set()

    async def receive() -> dict[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError

    response = PartsResponse(_Silent(receive), stream, renderer, heartbeat_s=0.001)
    sending = asyncio.create_task(response({"type": "http"}, receive, send))
    await asyncio.wait_for(enough.wait(), 5)
    await worker.finish()
    await sending
    assert sent[-1] == b""
    assert len(sent) == 1 + sent.count(silence) + 5 + 1


class _Silent:
    """A request whose client stays."""

    def __init__(self, receive: Any) -> None:
        self.receive = receive


# --- gRPC -----------------------------------------------------------------------------------------


async def test_a_refused_stream_is_a_status_with_the_same_code(served):
    async with grpc.aio.insecure_channel(served.urls["grpc"].removeprefix("grpc://")) as channel:
        stub = solve_pb2_grpc.SolverServiceStub(channel)
        tensor = tensor_pb2.Tensor(dtype="F32", shape=FIELD.shape, data=FIELD.tobytes())
        request = solve_pb2.SolveRequest(
            model="drift", inputs={"w": tensor, "f": tensor}, steps=3, t=[0.1]
        )
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            async for _ in stub.SolveStream(request, timeout=5):
                pass
    [detail] = rpc_status.from_call(raised.value).details
    problem = problem_pb2.Problem()
    assert detail.Unpack(problem)
    assert (problem.code, problem.field) == ("invalid_option", "steps")

"""Sessions over HTTP and gRPC where it matters what travels: bounds, races, conversations."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import grpc
import httpx
import numpy as np
import pytest

from certisolve.v1 import session_pb2, session_pb2_grpc
from certisolve.v1.tensor_pb2 import Tensor
from certisolve_server.api.app import create_app
from certisolve_server.api.rpc import create_server
from certisolve_server.api.session_rpc import session_service
from certisolve_server.sessions import MemorySessionStore
from dataplanes import Plane
from family_models import SIZE
from session_worker import session_plane

pytestmark = pytest.mark.anyio

FIELD = np.linspace(0.1, 0.9, SIZE, dtype=np.float32)
OPENING = {"model": "drift", "inputs": {"w": FIELD.tolist(), "f": FIELD.tolist()}}
Ask = session_pb2.ConverseRequest


@contextlib.asynccontextmanager
async def http(store: MemorySessionStore | None = None) -> AsyncIterator[httpx.AsyncClient]:
    async with session_plane(store) as (plane, _):
        transport = httpx.ASGITransport(create_app(Plane().dataplane, plane))
        async with httpx.AsyncClient(transport=transport, base_url="http://host") as client:
            yield client


@contextlib.asynccontextmanager
async def rpc() -> AsyncIterator[session_pb2_grpc.SessionServiceStub]:
    async with session_plane() as (plane, _):
        server = create_server(Plane().dataplane, [session_service(plane)])
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield session_pb2_grpc.SessionServiceStub(channel)
        await server.stop(None)


def tensor(array: np.ndarray) -> Tensor:
    return Tensor(dtype="F32", shape=array.shape, data=array.astype(np.float32).tobytes())


def opening() -> session_pb2.OpenSession:
    inputs = {"w": tensor(FIELD), "f": tensor(FIELD)}
    return session_pb2.OpenSession(model="drift", inputs=inputs)


async def said(stub: session_pb2_grpc.SessionServiceStub, *asks: Ask) -> list[str]:
    """What each message was answered with: a kind of answer, or the code of a problem."""

    async def speak() -> AsyncIterator[Ask]:
        for ask in asks:
            yield ask

    replies = [reply async for reply in stub.Converse(speak())]
    assert [reply.tag for reply in replies] == [ask.tag for ask in asks]
    kinds = [reply.WhichOneof("answer") for reply in replies]
    return [
        reply.problem.code if kind == "problem" else kind
        for reply, kind in zip(replies, kinds, strict=True)
    ]


async def test_a_server_full_of_sessions_says_when_to_come_again() -> None:
    async with http(MemorySessionStore(max_bytes=1000)) as client:
        first = await client.post("/v1/sessions", json=OPENING)
        assert first.status_code == 201
        second = await client.post("/v1/sessions", json=OPENING)
        assert (second.status_code, second.json()["code"]) == (429, "sessions_full")
        assert 0 < int(second.headers["Retry-After"]) <= 3600
        await client.delete(first.headers["Location"])
        assert (await client.post("/v1/sessions", json=OPENING)).status_code == 201


async def test_the_later_of_two_observations_is_a_conflict() -> None:
    async with http() as client:
        path = (await client.post("/v1/sessions", json=OPENING)).headers["Location"]
        calls = [
            client.post(f"{path}/observe", json={"t": [0.1], "values": {"w": [[v] * SIZE]}})
            for v in (0.25, 0.5)
        ]
        replies = await asyncio.gather(*calls)
        assert sorted(reply.status_code for reply in replies) == [200, 409]
        lost = next(reply for reply in replies if reply.status_code == 409)
        assert lost.json()["code"] == "session_conflict"


async def test_a_malformed_call_is_refused_by_its_field() -> None:
    async with http() as client:
        path = (await client.post("/v1/sessions", json=OPENING)).headers["Location"]
        for route, body, status, field in (
            ("/v1/sessions", {**OPENING, "steps": 3}, 422, "steps"),
            ("/v1/sessions", {"inputs": {}}, 422, "model"),
            ("/v1/sessions", {**OPENING, "options": {"gian": 1}}, 422, "options.gian"),
            ("/v1/sessions", {**OPENING, "inputs": [1]}, 400, "inputs"),
            (f"{path}/observe", {"values": {}}, 422, "t"),
            (f"{path}/observe", {"t": [0.1], "masks": {"w": "no"}}, 400, "masks.w"),
            (f"{path}/predict", {"t": "soon"}, 422, "t"),
        ):
            reply = await client.post(route, json=body)
            assert (reply.status_code, reply.json().get("field")) == (status, field), body
        reply = await client.post(f"{path}/observe", content=b"x" * (1 << 21))
        assert reply.status_code == 413
        assert (await client.get("/v1/sessions")).status_code == 405


async def test_the_interface_is_described() -> None:
    async with http() as client:
        document = (await client.get("/openapi.json")).json()
        paths = [path for path in document["paths"] if path.startswith("/v1/sessions")]
        assert sorted(paths) == [
            "/v1/sessions",
            "/v1/sessions/{session_id}",
            "/v1/sessions/{session_id}/observe",
            "/v1/sessions/{session_id}/predict",
            "/v1/sessions/{session_id}/state",
        ]
        described = {"OpenSessionBody", "ObserveBody", "PredictBody", "Session"}
        assert described <= document["components"]["schemas"].keys()


async def test_a_server_without_sessions_has_no_such_path() -> None:
    transport = httpx.ASGITransport(create_app(Plane().dataplane))
    async with httpx.AsyncClient(transport=transport, base_url="http://host") as client:
        assert (await client.post("/v1/sessions", json=OPENING)).status_code == 404


async def test_a_conversation_goes_on_after_a_problem() -> None:
    measured = session_pb2.Measurements(t=[0.1], values={"w": tensor(FIELD[None])})
    async with rpc() as stub:
        answers = await said(
            stub,
            Ask(tag=1, observe=measured),
            Ask(tag=2),
            Ask(tag=3, open=opening()),
            Ask(tag=4, observe=measured),
            Ask(tag=5, observe=session_pb2.Measurements(t=[0.05], values=measured.values)),
            Ask(tag=6, predict=session_pb2.PredictRequest(t=[0.2])),
            Ask(tag=7, snapshot=session_pb2.SessionRequest()),
            Ask(tag=8, close=session_pb2.SessionRequest()),
            Ask(tag=9, predict=session_pb2.PredictRequest(t=[0.2])),
        )
        assert answers == [
            "invalid_option",
            "malformed_body",
            "info",
            "info",
            "out_of_range",
            "forecast",
            "snapshot",
            "closed",
            "unknown_session",
        ]


async def test_a_conversation_is_taken_up_again() -> None:
    async with rpc() as stub:
        info = await stub.Open(opening())
        snapshot = await stub.Snapshot(session_pb2.SessionRequest(id=info.id))
        ask = session_pb2.PredictRequest(t=[0.2])
        attach = session_pb2.SessionRequest(id=info.id)
        answers = await said(stub, Ask(tag=1, attach=attach), Ask(tag=2, predict=ask))
        assert answers == ["info", "forecast"]
        answers = await said(stub, Ask(tag=1, restore=snapshot), Ask(tag=2, predict=ask))
        assert answers == ["info", "forecast"]
        # The conversation is over, the session is not.
        assert (await stub.Get(session_pb2.SessionRequest(id=info.id))).sequence == 0


async def test_who_hangs_up_in_the_middle_hurts_nobody() -> None:
    async with rpc() as stub:
        conversation = stub.Converse()
        await conversation.write(Ask(tag=1, open=opening()))
        info = (await conversation.read()).info
        await conversation.write(Ask(tag=2, predict=session_pb2.PredictRequest(t=[400.0])))
        conversation.cancel()
        assert (await stub.Get(session_pb2.SessionRequest(id=info.id))).id == info.id

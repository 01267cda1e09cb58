"""A queue that is full or out of reach: what both doors say, and how little it costs."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from certisolve import wire
from certisolve.v1 import model_pb2, model_pb2_grpc, solve_pb2, solve_pb2_grpc, tensor_pb2
from certisolve_server.api.app import create_app
from certisolve_server.api.rpc import create_server
from certisolve_server.broker import MemoryBroker
from certisolve_server.broker.base import Bounds, Depth
from certisolve_server.catalog import Catalog, ModelEntry, WorkerRef
from certisolve_server.errors import QueueUnavailable
from dataplanes import ARTIFACT, FIELD, Plane

pytestmark = pytest.mark.anyio
SOLVE = "/v1/models/double/solve"
BODY = wire.encode_safetensors({"u0": FIELD}, {})
BINARY = {"Content-Type": wire.SAFETENSORS, "Accept": "application/json"}


class OutOfReach(MemoryBroker):
    """A queue whose connection is lost."""

    @property
    def fault(self) -> str | None:
        return "redis://127.0.0.1:6379 does not answer"

    async def submit(self, job, *, keep_result, idempotency=None) -> str:
        raise QueueUnavailable("the queue does not answer", retry_after_s=1.0)

    async def state(self, job_id, *, wait_s=0.0, unlike=None):
        raise QueueUnavailable("the queue does not answer", retry_after_s=1.0)

    async def depth(self) -> Depth:
        raise QueueUnavailable("the queue does not answer", retry_after_s=1.0)


def client(plane: Plane) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(create_app(plane.dataplane))
    return httpx.AsyncClient(transport=transport, base_url="http://server")


def message() -> solve_pb2.SolveRequest:
    tensor = tensor_pb2.Tensor(dtype="F32", shape=FIELD.shape, data=FIELD.tobytes())
    return solve_pb2.SolveRequest(model="double", inputs={"u0": tensor})


@pytest.fixture
async def full() -> Plane:
    plane = Plane(MemoryBroker(Bounds(max_jobs=1)))
    async with client(plane) as http:
        accepted = await http.post(SOLVE, content=BODY, headers=BINARY | {"Prefer": "wait=0"})
        assert accepted.status_code == 202
    return plane


async def test_a_full_queue_is_429_with_the_predicted_wait(full: Plane) -> None:
    async with client(full) as http:
        for prefer in ("", "respond-async", "wait=1"):
            response = await http.post(SOLVE, content=BODY, headers=BINARY | {"Prefer": prefer})
            problem = response.json()
            assert (response.status_code, problem["code"]) == (429, "queue_full")
            assert int(response.headers["retry-after"]) >= 1
            assert problem["retry_after_s"] > 0
            assert f"{problem['retry_after_s']:.2f} s" in problem["detail"]


async def test_refusing_reads_no_body(full: Plane) -> None:
    read = []

    async def chunks() -> AsyncIterator[bytes]:
        read.append(1)
        yield BODY

    async with client(full) as http:
        refused = await http.post(SOLVE, content=chunks(), headers=BINARY)
        assert (refused.status_code, read) == (429, [])
        # Who repeats a key may ask for a job that was taken before the queue was full.
        await http.post(SOLVE, content=chunks(), headers=BINARY | {"Idempotency-Key": "k"})
        assert read == [1]


async def test_health_says_what_is_out_of_reach_while_the_process_lives() -> None:
    async with client(Plane(OutOfReach())) as http:
        ready = await http.get("/health/ready")
        assert ready.status_code == 503
        assert ready.json() == {
            "status": "unavailable",
            "reason": "redis://127.0.0.1:6379 does not answer",
        }
        assert (await http.get("/health/live")).status_code == 200
        assert (await http.get("/metrics")).status_code == 200
    loading = Catalog()
    loading.put(ModelEntry(ARTIFACT))
    async with client(Plane(catalog=loading)) as http:
        ready = await http.get("/health/ready")
        assert (ready.status_code, ready.json()) == (503, {"status": "loading"})


async def test_what_needs_the_queue_is_503_with_retry_after() -> None:
    async with client(Plane(OutOfReach())) as http:
        for response in (
            await http.post(SOLVE, content=BODY, headers=BINARY),
            await http.post(SOLVE, content=BODY, headers=BINARY | {"Prefer": "respond-async"}),
            await http.get("/v1/jobs/j"),
            await http.get("/v1/jobs/j/events"),
        ):
            assert (response.status_code, response.json()["code"]) == (503, "queue_unavailable")
            assert response.headers["retry-after"] == "1"
        assert (await http.get("/v1/models")).status_code == 200


async def test_grpc_says_the_same(full: Plane) -> None:
    for plane, status in (
        (full, grpc.StatusCode.RESOURCE_EXHAUSTED),
        (Plane(OutOfReach()), grpc.StatusCode.UNAVAILABLE),
    ):
        async with _serving(plane) as channel:
            with pytest.raises(grpc.RpcError) as raised:
                await solve_pb2_grpc.SolverServiceStub(channel).Solve(message(), timeout=10)
            assert raised.value.code() is status
            health = await health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(), timeout=10
            )
            serving = status is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert (health.status == health_pb2.HealthCheckResponse.SERVING) is serving


async def test_grpc_has_no_job_to_answer_with_when_the_wait_is_over() -> None:
    async with _serving(Plane(max_wait_s=0.02)) as channel:
        with pytest.raises(grpc.RpcError) as raised:
            await solve_pb2_grpc.SolverServiceStub(channel).Solve(message())
        assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert "s in the queue" in raised.value.details()


async def test_models_say_on_which_workers_they_are() -> None:
    plane = Plane()
    worker = WorkerRef("gpu-0", "cuda:0", "10.0.0.1:8001")
    plane.catalog.replace([ModelEntry(ARTIFACT, ready=True, workers=(worker,))])
    async with client(plane) as http:
        [model] = (await http.get("/v1/models")).json()["models"]
        assert model["workers"] == [{"name": "gpu-0", "device": "cuda:0", "grpc": "10.0.0.1:8001"}]
        assert (await http.get("/v1/models/double")).json() == model
    async with _serving(plane) as channel:
        stub = model_pb2_grpc.ModelServiceStub(channel)
        info = await stub.GetModel(model_pb2.GetModelRequest(name="double"), timeout=10)
        [found] = info.workers
        assert (found.name, found.device, found.grpc) == ("gpu-0", "cuda:0", "10.0.0.1:8001")


@asynccontextmanager
async def _serving(plane: Plane) -> AsyncIterator[grpc.aio.Channel]:
    server = create_server(plane.dataplane)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield channel
    finally:
        await server.stop(None)

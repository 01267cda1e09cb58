"""What a gRPC client without our SDK meets: cancellation, deadlines, health, reflection."""

import time
from collections.abc import Iterator

import grpc
import httpx
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

from certisolve.v1 import solve_pb2, solve_pb2_grpc, tensor_pb2, worker_pb2, worker_pb2_grpc
from certisolve_server.api.rpc import MoreServices, create_server
from certisolve_server.bench import LocalServer
from dataplanes import Plane

_COMPUTED = 'certisolve_batch_size_sum{model="slow"}'
_CANCELLED = 'certisolve_requests_total{code="cancelled",model="slow"}'
FIELD = np.linspace(0, 1, 16, dtype=np.float32)


@pytest.fixture(scope="module")
def channel(server: LocalServer) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(server.grpc.removeprefix("grpc://")) as channel:
        yield channel


def request(model: str) -> solve_pb2.SolveRequest:
    tensor = tensor_pb2.Tensor(dtype="F32", shape=FIELD.shape, data=FIELD.tobytes())
    return solve_pb2.SolveRequest(model=model, inputs={"u0": tensor})


def test_a_solve_is_answered_with_raw_bytes(channel: grpc.Channel) -> None:
    reply = solve_pb2_grpc.SolverServiceStub(channel).Solve(request("double"), timeout=20)
    assert np.frombuffer(reply.fields["u"].data, "<f4").tolist() == (2 * FIELD).tolist()
    assert list(reply.axes["u"].names) == ["x"]
    assert reply.diagnostics.expected_error == 0.01
    assert reply.batch_size == 1


def test_a_cancelled_call_never_reaches_the_device(
    server: LocalServer, channel: grpc.Channel
) -> None:
    stub = solve_pb2_grpc.SolverServiceStub(channel)
    stub.Solve(request("slow"), timeout=20)  # whatever ran before has left the device
    with httpx.Client(base_url=server.http) as http:
        computed = _metric(http, _COMPUTED)
        running = stub.Solve.future(request("slow"), timeout=20)
        _wait_for_depth(http, 1)
        queued = stub.Solve.future(request("slow"), timeout=20)
        _wait_for_depth(http, 2)
        queued.cancel()
        _wait_for_depth(http, 1)
        running.result()
        stub.Solve(request("slow"), timeout=20)
        assert _metric(http, _COMPUTED) == computed + 2
        assert _metric(http, _CANCELLED) >= 1


def test_health_speaks_the_standard_protocol(channel: grpc.Channel) -> None:
    stub = health_pb2_grpc.HealthStub(channel)
    for service in ("", "certisolve.v1.SolverService"):
        reply = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=20)
        assert reply.status == health_pb2.HealthCheckResponse.SERVING
    with pytest.raises(grpc.RpcError) as raised:
        stub.Check(health_pb2.HealthCheckRequest(service="nothing"), timeout=20)
    assert raised.value.code() == grpc.StatusCode.NOT_FOUND


def test_reflection_lists_the_services(channel: grpc.Channel) -> None:
    assert {
        "certisolve.v1.JobService",
        "certisolve.v1.ModelService",
        "certisolve.v1.SolverService",
        "grpc.health.v1.Health",
    } <= set(ProtoReflectionDescriptorDatabase(channel).get_services())


def _wait_for_depth(http: httpx.Client, depth: int) -> None:
    """Return once so many requests wait or run."""
    give_up_at = time.monotonic() + 20
    while _metric(http, "certisolve_queue_depth") != depth:
        assert time.monotonic() < give_up_at


def _metric(http: httpx.Client, name: str) -> float:
    lines = http.get("/metrics").text.splitlines()
    return next((float(line.split()[-1]) for line in lines if line.startswith(name)), 0.0)


@pytest.mark.anyio
async def test_a_process_can_offer_more_services() -> None:
    class Status(worker_pb2_grpc.WorkerServiceServicer):
        async def Status(self, request, context):
            return worker_pb2.WorkerStatus(state="serving")

    name = worker_pb2.DESCRIPTOR.services_by_name["WorkerService"].full_name
    adder = worker_pb2_grpc.add_WorkerServiceServicer_to_server
    server = create_server(Plane().dataplane, [MoreServices(adder, Status(), name)])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = worker_pb2_grpc.WorkerServiceStub(channel)
        assert (await stub.Status(worker_pb2.StatusRequest(), timeout=10)).state == "serving"
        health = health_pb2_grpc.HealthStub(channel)
        checked = await health.Check(health_pb2.HealthCheckRequest(service=name), timeout=10)
        assert checked.status == health_pb2.HealthCheckResponse.SERVING
        assert name in await _reflected(channel)
    await server.stop(None)


async def _reflected(channel: grpc.aio.Channel) -> set[str]:
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    call = stub.ServerReflectionInfo()
    await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
    reply = await call.read()
    await call.done_writing()
    return {service.name for service in reply.list_services_response.service}

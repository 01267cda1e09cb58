"""Jobs, keys, waits and terms over both doors of a real server."""

import json
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import grpc
import httpx
import numpy as np
import pytest
from google.protobuf.json_format import MessageToDict
from grpc_status import rpc_status

from certisolve import wire
from certisolve.v1 import (
    job_pb2,
    job_pb2_grpc,
    model_pb2,
    model_pb2_grpc,
    problem_pb2,
    solve_pb2,
    solve_pb2_grpc,
    tensor_pb2,
)
from certisolve_server.bench import LocalServer

FIELD = np.linspace(0, 1, 16, dtype=np.float32)
ASYNC = {"Prefer": "respond-async"}
JOB_KEYS = {"id", "status", "position", "expected_wait_s", "progress", "problem"}


@pytest.fixture(scope="module")
def http(server: LocalServer) -> Iterator[httpx.Client]:
    limits = httpx.Limits(max_connections=40)
    with httpx.Client(base_url=server.http, timeout=60, limits=limits) as client:
        yield client


@pytest.fixture(scope="module")
def channel(server: LocalServer) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(server.grpc.removeprefix("grpc://")) as channel:
        yield channel


def solve(
    http: httpx.Client, model: str = "double", field: np.ndarray = FIELD, **headers: str
) -> httpx.Response:
    body = wire.encode_safetensors({"u0": field}, {})
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return http.post(
        f"/v1/models/{model}/solve",
        content=body,
        headers={"Content-Type": wire.SAFETENSORS, "Accept": "application/json", **names},
    )


def message(model: str = "double", field: np.ndarray = FIELD) -> solve_pb2.SolveRequest:
    tensor = tensor_pb2.Tensor(dtype="F32", shape=field.shape, data=field.tobytes())
    return solve_pb2.SolveRequest(model=model, inputs={"u0": tensor})


def submit(channel: grpc.Channel, solve: solve_pb2.SolveRequest, **metadata: str) -> job_pb2.Job:
    names = tuple((name.replace("_", "-"), value) for name, value in metadata.items())
    stub = job_pb2_grpc.JobServiceStub(channel)
    return stub.SubmitSolve(job_pb2.SubmitSolveRequest(request=solve), metadata=names, timeout=20)


def problem(raised: Any) -> dict[str, Any]:
    [detail] = rpc_status.from_call(raised.value).details
    found = problem_pb2.Problem()
    assert detail.Unpack(found)
    return MessageToDict(found, preserving_proto_field_name=True)


def events(lines: Iterator[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    name = ""
    for line in lines:
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield name, json.loads(line.removeprefix("data: "))


# --- Jobs and waits -------------------------------------------------------------------------------


def test_a_job_is_described_the_same_everywhere(http: httpx.Client) -> None:
    accepted = solve(http, "slow", Prefer="respond-async")
    assert (accepted.status_code, accepted.json().keys()) == (202, JOB_KEYS)
    assert accepted.headers["preference-applied"] == "respond-async"
    location = accepted.headers["location"]
    assert location == f"/v1/jobs/{accepted.json()['id']}"
    assert http.get(location).json().keys() - {"result"} == JOB_KEYS
    done = http.get(location, params={"wait_s": 20}).json()
    assert done.keys() == JOB_KEYS | {"result"}
    assert (done["status"], done["progress"], done["problem"]) == ("succeeded", 1.0, None)
    assert http.delete(location).json() == {k: v for k, v in done.items() if k != "result"}


@pytest.mark.parametrize("prefer", ["wait=0", "respond-async, wait=0", 'wait="0"; x=y'])
def test_a_solve_becomes_a_job_after_the_wait_preferred(http: httpx.Client, prefer: str) -> None:
    accepted = solve(http, "slow", Prefer=prefer)
    assert accepted.status_code == 202
    assert "wait=0" in accepted.headers["preference-applied"]
    done = http.get(accepted.headers["location"], params={"wait_s": 20}).json()
    np.testing.assert_allclose(done["result"]["fields"]["u"], FIELD, rtol=1e-6)


@pytest.mark.parametrize(
    "prefer", ["wait=30", "respond-async, wait=30", "return=minimal", "wait=x"]
)
def test_a_solve_within_the_wait_is_answered(http: httpx.Client, prefer: str) -> None:
    response = solve(http, Prefer=prefer)
    assert response.status_code == 200
    assert response.headers.get("preference-applied") == ("wait=30" if "30" in prefer else None)


def test_preferences_in_two_headers_are_one_list(http: httpx.Client) -> None:
    headers = [("Prefer", "return=minimal"), ("Prefer", "respond-async")]
    body = {"inputs": {"u0": FIELD.tolist()}}
    assert http.post("/v1/models/double/solve", json=body, headers=headers).status_code == 202


def test_a_deadline_counts_during_a_wait(http: httpx.Client) -> None:
    response = solve(http, "slow", Prefer="wait=20", Certisolve_Deadline_Ms="20")
    assert (response.status_code, response.json()["code"]) == (504, "deadline_exceeded")


# --- Events ---------------------------------------------------------------------------------------


def test_events_lead_up_to_the_end_of_a_job(http: httpx.Client) -> None:
    busy = [solve(http, "slow", Prefer="respond-async").json() for _ in range(3)]
    with http.stream("GET", f"/v1/jobs/{busy[-1]['id']}/events") as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.headers["cache-control"] == "no-store"
        assert response.headers["x-accel-buffering"] == "no"
        *changes, (name, last) = events(response.iter_lines())
    assert {name for name, _ in changes} == {"status"}
    assert {document["status"] for _, document in changes} <= {"queued", "running"}
    assert (name, last["status"]) == ("succeeded", "succeeded")
    assert last.keys() == JOB_KEYS | {"location"}
    np.testing.assert_allclose(
        http.get(last["location"]).json()["result"]["fields"]["u"], FIELD, rtol=1e-6
    )


def test_events_tell_of_a_cancellation(http: httpx.Client) -> None:
    busy = [solve(http, "slow", Prefer="respond-async").json() for _ in range(2)]
    with http.stream("GET", f"/v1/jobs/{busy[-1]['id']}/events") as response:
        told = events(response.iter_lines())
        assert next(told)[0] == "status"
        http.delete(f"/v1/jobs/{busy[-1]['id']}")
        assert [name for name, _ in told][-1] == "cancelled"


def test_events_of_an_unknown_job_are_a_problem(http: httpx.Client) -> None:
    response = http.get("/v1/jobs/nope/events")
    assert (response.status_code, response.json()["code"]) == (404, "unknown_job")


def test_a_client_that_stops_listening_disturbs_nobody(
    server: LocalServer, http: httpx.Client
) -> None:
    job = solve(http, "slow", Prefer="respond-async").json()
    host, port = server.http.removeprefix("http://").split(":")
    for _ in range(5):
        with socket.create_connection((host, int(port))) as connection:
            path = f"/v1/jobs/{job['id']}/events"
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert connection.recv(9) == b"HTTP/1.1 "
    assert http.get(f"/v1/jobs/{job['id']}", params={"wait_s": 20}).json()["result"]
    assert "Traceback" not in server.said()


def test_a_watch_carries_the_result_at_its_end(channel: grpc.Channel) -> None:
    job = submit(channel, message("slow"))
    stub = job_pb2_grpc.JobServiceStub(channel)
    *changes, last = stub.WatchJob(job_pb2.WatchJobRequest(id=job.id), timeout=20)
    assert all(change.status in ("queued", "running") for change in changes)
    assert (last.status, last.progress) == ("succeeded", 1.0)
    np.testing.assert_array_equal(np.frombuffer(last.result.fields["u"].data, "<f4"), FIELD)


def test_a_watch_that_is_cancelled_leaves_the_job_alone(channel: grpc.Channel) -> None:
    job = submit(channel, message("slow"))
    stub = job_pb2_grpc.JobServiceStub(channel)
    watch = stub.WatchJob(job_pb2.WatchJobRequest(id=job.id), timeout=20)
    next(watch)
    watch.cancel()
    done = stub.GetJob(job_pb2.GetJobRequest(id=job.id, wait_s=20), timeout=30)
    assert done.status == "succeeded"


def test_watching_an_unknown_job_is_a_problem(channel: grpc.Channel) -> None:
    stub = job_pb2_grpc.JobServiceStub(channel)
    with pytest.raises(grpc.RpcError) as raised:
        list(stub.WatchJob(job_pb2.WatchJobRequest(id="nope"), timeout=20))
    assert problem(raised)["code"] == "unknown_job"


# --- Idempotency ----------------------------------------------------------------------------------


def test_twenty_submissions_of_one_key_are_one_job(http: httpx.Client) -> None:
    key = str(uuid4())
    start = threading.Barrier(20)

    def post(_: int) -> str:
        start.wait()
        return solve(http, "slow", Prefer="respond-async", Idempotency_Key=key).json()["id"]

    with ThreadPoolExecutor(20) as pool:
        assert len(set(pool.map(post, range(20)))) == 1


def test_twenty_solves_of_one_key_are_one_run_and_twenty_answers(
    http: httpx.Client, channel: grpc.Channel
) -> None:
    solve(http, "slow")  # whatever ran before has left the device
    computed, key = _computed(http), str(uuid4())
    stub = solve_pb2_grpc.SolverServiceStub(channel)

    def over_http(_: int) -> list[float]:
        return solve(http, "slow", Idempotency_Key=key).json()["fields"]["u"]

    def over_grpc(_: int) -> list[float]:
        metadata = (("idempotency-key", key),)
        reply = stub.Solve(message("slow"), metadata=metadata, timeout=30)
        return np.frombuffer(reply.fields["u"].data, "<f4").tolist()

    with ThreadPoolExecutor(20) as pool:
        waiting = [pool.submit(over_http if n % 2 else over_grpc, n) for n in range(20)]
        for answered in waiting:
            np.testing.assert_allclose(answered.result(), FIELD, rtol=1e-6)
    assert _computed(http) == computed + 1


def test_a_key_names_the_same_job_over_both_protocols(
    http: httpx.Client, channel: grpc.Channel
) -> None:
    key = str(uuid4())
    over_http = solve(http, Prefer="respond-async", Idempotency_Key=key).json()["id"]
    assert submit(channel, message(), idempotency_key=key).id == over_http


def test_another_request_under_a_key_is_a_conflict(
    http: httpx.Client, channel: grpc.Channel
) -> None:
    key = str(uuid4())
    assert solve(http, Idempotency_Key=key).status_code == 200
    assert solve(http, Idempotency_Key=key).status_code == 200
    for headers in ({}, ASYNC):
        response = solve(http, field=FIELD + 1, Idempotency_Key=key, **headers)
        assert (response.status_code, response.json()["code"]) == (409, "idempotency_conflict")
    with pytest.raises(grpc.RpcError) as raised:
        submit(channel, message("slow"), idempotency_key=key)
    assert raised.value.code() is grpc.StatusCode.ALREADY_EXISTS
    assert problem(raised)["code"] == "idempotency_conflict"
    other = solve(http, field=FIELD + 1, Idempotency_Key=key, Certisolve_Tenant="other")
    assert other.status_code == 200


# --- Terms ----------------------------------------------------------------------------------------

MALFORMED = [
    ("Certisolve-Tenant", "a b"),
    ("Certisolve-Tenant", "x" * 65),
    ("Certisolve-Priority", "urgent"),
    ("Idempotency-Key", "k" * 256),
    ("Idempotency-Key", "k" * 30_000),
]


@pytest.mark.parametrize(("header", "value"), MALFORMED, ids=lambda value: value[:20])
def test_a_malformed_term_is_named_over_both_protocols(
    http: httpx.Client, channel: grpc.Channel, header: str, value: str
) -> None:
    response = solve(http, **{header: value})
    found = response.json()
    assert (response.status_code, found["code"], found["field"]) == (422, "invalid_option", header)
    if len(value) > 8000:
        return  # gRPC refuses metadata of this size itself
    with pytest.raises(grpc.RpcError) as raised:
        submit(channel, message(), **{header.lower(): value})
    assert problem(raised)["field"] == header


@pytest.mark.parametrize("value", [b"\xff\xfe", "schlüssel".encode(), b"a\tb"])
def test_a_key_that_is_not_ascii_is_refused(http: httpx.Client, value: bytes) -> None:
    response = http.post(
        "/v1/models/double/solve",
        json={"inputs": {"u0": FIELD.tolist()}},
        headers=[(b"Idempotency-Key", value)],
    )
    assert (response.status_code, response.json()["field"]) == (422, "Idempotency-Key")


def test_a_malformed_trace_context_is_passed_over(http: httpx.Client) -> None:
    assert solve(http, traceparent="00-zzz").status_code == 200


def test_a_deadline_of_a_job_travels_as_metadata(channel: grpc.Channel) -> None:
    busy = submit(channel, message("slow"))
    late = submit(channel, message("slow"), certisolve_deadline_ms="1")
    stub = job_pb2_grpc.JobServiceStub(channel)
    ended = stub.GetJob(job_pb2.GetJobRequest(id=late.id, wait_s=20), timeout=30)
    assert (ended.status, ended.problem.code) == ("failed", "deadline_exceeded")
    assert stub.GetJob(job_pb2.GetJobRequest(id=busy.id, wait_s=20), timeout=30).result


def test_models_say_where_they_are_loaded(http: httpx.Client, channel: grpc.Channel) -> None:
    stub = model_pb2_grpc.ModelServiceStub(channel)
    listed = stub.ListModels(model_pb2.ListModelsRequest(), timeout=20)
    workers = {
        info.model.name: [MessageToDict(worker) for worker in info.workers]
        for info in listed.models
    }
    models = http.get("/v1/models").json()["models"]
    assert workers == {model["name"]: model["workers"] for model in models}


def _computed(http: httpx.Client) -> float:
    """Requests to `slow` that reached the device."""
    for line in http.get("/metrics").text.splitlines():
        if line.startswith('certisolve_batch_size_sum{model="slow"}'):
            return float(line.split()[-1])
    return 0.0

"""What callers get: fields, diagnostics, deadlines, jobs, disconnects."""

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pytest

from certisolve import wire
from certisolve_server.bench import LocalServer

FIELD = np.linspace(0, 1, 16, dtype=np.float32)
BINARY = {"Content-Type": wire.SAFETENSORS}


@pytest.fixture
def http(server: LocalServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.http, timeout=30) as client:
        yield client


def solve(http: httpx.Client, model: str, inputs: dict[str, Any], **headers: str) -> httpx.Response:
    body = wire.encode_safetensors(inputs, {})
    return http.post(f"/v1/models/{model}/solve", content=body, headers=BINARY | headers)


def test_json_in_json_out(http: httpx.Client) -> None:
    reply = http.post("/v1/models/double/solve", json={"inputs": {"u0": FIELD.tolist()}}).json()
    np.testing.assert_array_equal(_float32(reply["fields"]["u"]), 2 * FIELD)
    assert reply["coords"]["x"] == (np.arange(16) / 16).tolist()
    assert reply["axes"] == {"u": ["x"]}
    assert (reply["t"], reply["status"], reply["batch_size"]) == ([1.0], "ok", 1)
    told = {key: value for key, value in reply["diagnostics"].items() if value is not None}
    assert told == {"in_validated_range": True, "out_of_range": [], "expected_error": 0.01}
    assert reply["timings_ms"].keys() == {"queue", "batch", "compute"}
    assert reply["model"]["name"] == "double"
    assert len(reply["model"]["digest"]) == 64


def test_curl_without_a_content_type_is_understood(http: httpx.Client) -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    body = b'{"inputs": {"x": [0.5], "y": [0.5]}}'
    reply = http.post("/v1/models/product/solve", content=body, headers=form)
    assert reply.json()["fields"] == {"f": [0.25]}


def test_accept_chooses_the_type_of_the_reply(http: httpx.Client) -> None:
    binary = solve(http, "double", {"u0": FIELD})
    tensors, metadata = wire.decode_safetensors(binary.content)
    np.testing.assert_array_equal(tensors["u"], 2 * FIELD)
    assert metadata["status"] == "ok"
    text = solve(http, "double", {"u0": FIELD}, Accept="application/json")
    np.testing.assert_array_equal(_float32(text.json()["fields"]["u"]), 2 * FIELD)


def test_nan_in_a_field_is_null_with_a_status(http: httpx.Client) -> None:
    field = FIELD.copy()
    field[0] = -1.0
    reply = solve(http, "log", {"u0": field + 1}, Accept="application/json").json()
    assert reply["status"] == "not_finite"
    assert reply["fields"]["u"][0] is None
    assert reply["fields"]["u"][1] == pytest.approx(np.log1p(FIELD[1]), abs=1e-6)


def test_parameters_default_to_the_manifest(http: httpx.Client) -> None:
    body = {"inputs": {"u0": FIELD.tolist()}}
    default = http.post("/v1/models/scale/solve", json=body).json()
    given = http.post("/v1/models/scale/solve", json=body | {"parameters": {"gain": 5}}).json()
    assert default["fields"]["u"][-1] == 3.0
    assert given["fields"]["u"][-1] == 5.0


def test_an_unvalidated_resolution_is_resampled_and_flagged(http: httpx.Client) -> None:
    x = np.arange(24) / 24
    u0 = np.sin(2 * np.pi * x).astype(np.float32)
    reply = solve(http, "resampling", {"u0": u0}, Accept="application/json").json()
    np.testing.assert_allclose(reply["fields"]["u"], 2 * u0, atol=1e-6)  # band limited: exact
    told = {key: value for key, value in reply["diagnostics"].items() if value is not None}
    assert told == {
        "in_validated_range": False,
        "out_of_range": ["resolution"],
        "resampled_from": {"x": 24},
    }
    assert len(reply["coords"]["x"]) == 24


def test_diagnostics_can_be_left_out(http: httpx.Client) -> None:
    body = {"inputs": {"u0": FIELD.tolist()}, "options": {"diagnostics": False}}
    assert http.post("/v1/models/double/solve", json=body).json()["diagnostics"] is None


def test_a_job_is_answered_later(http: httpx.Client) -> None:
    accepted = solve(http, "slow", {"u0": FIELD}, Prefer="respond-async")
    assert accepted.status_code == 202
    assert accepted.json()["status"] in ("queued", "running")
    location = accepted.headers["location"]
    reply = http.get(location, params={"wait_s": 20}).json()
    assert reply["status"] == "succeeded"
    np.testing.assert_array_equal(_float32(reply["result"]["fields"]["u"]), FIELD)
    binary = http.get(location, headers={"Accept": wire.SAFETENSORS})
    tensors, metadata = wire.decode_safetensors(binary.content)
    np.testing.assert_array_equal(tensors["u"], FIELD)
    assert metadata["result"]["status"] == "ok"


def test_a_cancelled_job_stays_cancelled(http: httpx.Client) -> None:
    busy = [solve(http, "slow", {"u0": FIELD}, Prefer="respond-async") for _ in range(2)]
    job = solve(http, "slow", {"u0": FIELD}, Prefer="respond-async").json()
    assert http.delete(f"/v1/jobs/{job['id']}").json()["status"] == "cancelled"
    for other in busy:
        assert http.get(other.headers["location"], params={"wait_s": 20}).json()["result"]
    assert http.get(f"/v1/jobs/{job['id']}").json()["status"] == "cancelled"


def test_a_missed_deadline_says_where_the_time_went(http: httpx.Client) -> None:
    response = solve(http, "slow", {"u0": FIELD}, **{"Certisolve-Deadline-Ms": "20"})
    assert (response.status_code, response.json()["code"]) == (504, "deadline_exceeded")
    assert "s in the queue" in response.json()["detail"]


def test_a_client_that_hangs_up_frees_its_place(server: LocalServer, http: httpx.Client) -> None:
    solve(http, "slow", {"u0": FIELD})  # whatever ran before has left the device
    cancelled, computed = _count(http, "cancelled"), _computed(http)
    running = solve(http, "slow", {"u0": FIELD}, Prefer="respond-async")
    host, port = server.http.removeprefix("http://").split(":")
    body = wire.encode_safetensors({"u0": FIELD}, {})
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(
            b"POST /v1/models/slow/solve HTTP/1.1\r\nHost: x\r\n"
            b"Content-Type: application/x-safetensors\r\n"
            b"Content-Length: %d\r\n\r\n" % len(body) + body
        )
        time.sleep(0.05)  # the request is queued behind the running one
    http.get(running.headers["location"], params={"wait_s": 20})
    assert _count(http, "cancelled") == cancelled + 1
    assert _computed(http) == computed + 1


def test_health_answers_while_the_device_is_busy(http: httpx.Client) -> None:
    with ThreadPoolExecutor(4) as pool:
        busy = [pool.submit(solve, http, "slow", {"u0": FIELD}) for _ in range(4)]
        assert http.get("/health/live").json() == {"status": "live"}
        assert http.get("/health/ready").status_code == 200
        assert all(future.result().status_code == 200 for future in busy)


def test_the_interface_is_documented(http: httpx.Client) -> None:
    document = http.get("/openapi.json").json()
    solve_path = document["paths"]["/v1/models/{model}/solve"]["post"]
    assert wire.SAFETENSORS in solve_path["requestBody"]["content"]
    assert {"200", "202", "404", "409", "422", "429", "503", "504"} <= solve_path[
        "responses"
    ].keys()
    headers = {each["name"] for each in solve_path["parameters"] if each["in"] == "header"}
    assert {"Prefer", "Idempotency-Key", "Certisolve-Deadline-Ms", "traceparent"} <= headers
    assert {"Certisolve-Tenant", "Certisolve-Priority"} <= headers
    events = document["paths"]["/v1/jobs/{job_id}/events"]["get"]["responses"]
    assert "text/event-stream" in events["200"]["content"]
    for reference in _references(document):
        name = reference.removeprefix("#/components/schemas/")
        assert name in document["components"]["schemas"]
    assert http.get("/docs").status_code == 200


def test_metrics_are_prometheus_text(http: httpx.Client) -> None:
    solve(http, "double", {"u0": FIELD})
    text = http.get("/metrics").text
    assert 'certisolve_requests_total{code="ok",model="double"}' in text
    assert 'certisolve_batch_size_bucket{le="1.0",model="double"}' in text


def _float32(values: list[float]) -> np.ndarray:
    """JSON carries the shortest decimals that round to the float32 that was computed."""
    return np.asarray(values, np.float32)


def _count(http: httpx.Client, code: str) -> float:
    """Requests to `slow` that ended so."""
    return _metric(http, f'certisolve_requests_total{{code="{code}",model="slow"}}')


def _computed(http: httpx.Client) -> float:
    """Requests to `slow` that reached the device."""
    return _metric(http, 'certisolve_batch_size_sum{model="slow"}')


def _metric(http: httpx.Client, name: str) -> float:
    for line in http.get("/metrics").text.splitlines():
        if line.startswith(name):
            return float(line.split()[-1])
    return 0.0


def _references(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from _references(value)
    elif isinstance(node, list):
        for value in node:
            yield from _references(value)

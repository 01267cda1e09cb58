"""Bad input gets a clear 4xx that names the field: one code, over HTTP and gRPC; never a 5xx."""

import json
from collections.abc import Iterator
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from google.protobuf.json_format import MessageToDict
from grpc_status import rpc_status
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from certisolve import wire
from certisolve.v1 import problem_pb2, solve_pb2, solve_pb2_grpc, tensor_pb2
from certisolve_server.bench import LocalServer

FIELD = np.linspace(0, 1, 16, dtype=np.float32)
NAN = np.where(np.arange(16) == 3, np.nan, FIELD).astype(np.float32)

# model, inputs, rest of the body -> code, field, HTTP status
BOTH_DOORS: dict[str, tuple[str, dict[str, Any], dict[str, Any], str, str | None, int]] = {
    "unknown model": ("nope", {"u0": FIELD}, {}, "unknown_model", "model", 404),
    "unknown version": (
        "double",
        {"u0": FIELD},
        {"version": "7"},
        "unknown_version",
        "version",
        404,
    ),
    "missing input": ("double", {}, {}, "missing_input", "inputs.u0", 422),
    "unknown input": (
        "double",
        {"u0": FIELD, "v": FIELD},
        {},
        "unknown_input",
        "inputs.v",
        422,
    ),
    "batch dimension": ("double", {"u0": FIELD[None]}, {}, "wrong_shape", "inputs.u0", 422),
    "empty field": ("double", {"u0": FIELD[:0]}, {}, "wrong_shape", "inputs.u0", 422),
    "wrong dtype": (
        "double",
        {"u0": FIELD.astype(np.float64)},
        {},
        "wrong_dtype",
        "inputs.u0",
        422,
    ),
    "integers": ("double", {"u0": FIELD.astype(np.int32)}, {}, "wrong_dtype", "inputs.u0", 422),
    "NaN": ("double", {"u0": NAN}, {}, "not_finite", "inputs.u0", 422),
    "infinity": (
        "double",
        {"u0": np.full(16, np.inf, np.float32)},
        {},
        "not_finite",
        "inputs.u0",
        422,
    ),
    "resolution": (
        "double",
        {"u0": np.zeros(17, np.float32)},
        {},
        "unvalidated_resolution",
        "inputs.u0",
        422,
    ),
    "too coarse to resample": (
        "resampling",
        {"u0": np.zeros(3, np.float32)},
        {},
        "unvalidated_resolution",
        "inputs.u0",
        422,
    ),
    "unknown parameter": (
        "double",
        {"u0": FIELD},
        {"parameters": {"nu": 1.0}},
        "unknown_parameter",
        "parameters.nu",
        422,
    ),
    "parameter out of range": (
        "scale",
        {"u0": FIELD},
        {"parameters": {"gain": 9.5}},
        "out_of_range",
        "parameters.gain",
        422,
    ),
    "element out of range": (
        "product",
        {"x": FIELD, "y": FIELD * 2},
        {},
        "out_of_range",
        "inputs.y",
        422,
    ),
    "lengths that differ": (
        "product",
        {"x": FIELD, "y": FIELD[:8]},
        {},
        "wrong_shape",
        "inputs.y",
        422,
    ),
    "too many points": (
        "product",
        {"x": np.zeros(5000, np.float32), "y": np.zeros(5000, np.float32)},
        {},
        "wrong_shape",
        "inputs.x",
        422,
    ),
    "time": ("double", {"u0": FIELD}, {"t": [2.0]}, "out_of_range", "t.0", 422),
    "oversize body": (
        "double",
        {"u0": np.zeros(300_000, np.float32)},
        {},
        "body_too_large",
        None,
        413,
    ),
}


@pytest.fixture(scope="module")
def http(server: LocalServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.http, timeout=20) as client:
        yield client


@pytest.fixture(scope="module")
def channel(server: LocalServer) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(server.grpc.removeprefix("grpc://")) as channel:
        yield channel


@pytest.mark.parametrize("case", BOTH_DOORS.values(), ids=BOTH_DOORS)
def test_http_names_the_field(http: httpx.Client, case: Any) -> None:
    model, inputs, rest, code, field, status = case
    response = http.post(
        f"/v1/models/{model}/solve",
        content=wire.encode_safetensors(inputs, rest),
        headers={"Content-Type": wire.SAFETENSORS},
    )
    problem = response.json()
    assert (response.status_code, problem["code"], problem.get("field")) == (status, code, field)
    assert response.headers["content-type"] == "application/problem+json"
    assert problem["status"] == status
    assert len(problem["detail"]) > 5


@pytest.mark.parametrize("case", BOTH_DOORS.values(), ids=BOTH_DOORS)
def test_grpc_carries_the_same_code(channel: grpc.Channel, case: Any) -> None:
    model, inputs, rest, code, field, _ = case
    request = solve_pb2.SolveRequest(
        model=model,
        version=rest.get("version", ""),
        inputs={name: _tensor(array) for name, array in inputs.items()},
        parameters=rest.get("parameters", {}),
        t=rest.get("t", ()),
    )
    problem = _problem(channel, request)
    assert (problem["code"], problem.get("field")) == (code, field)


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        pytest.param(b"{", "malformed_body", None, id="cut short"),
        pytest.param(b"[1, 2]", "unsupported_media_type", None, id="a list"),
        pytest.param(b'{"inputs": 3}', "malformed_body", "inputs", id="inputs is a number"),
        pytest.param(b'{"inputs": {"u0": "abc"}}', "malformed_body", "inputs.u0", id="text"),
        pytest.param(b'{"inputs": {"u0": [1, null]}}', "malformed_body", "inputs.u0", id="null"),
        pytest.param(b'{"inputs": {"u0": [[1], [1, 2]]}}', "wrong_shape", "inputs.u0", id="ragged"),
        pytest.param(b'{"inputs": {"u0": [NaN]}}', "malformed_body", None, id="bare NaN"),
        pytest.param(b'{"inputs": {}, "oops": 1}', "invalid_option", "oops", id="unknown key"),
        pytest.param(
            b'{"inputs": {}, "options": {"x": 1}}', "invalid_option", "options.x", id="option"
        ),
        pytest.param(
            b'{"inputs": {}, "parameters": {"nu": "a"}}',
            "invalid_option",
            "parameters.nu",
            id="parameter is text",
        ),
        pytest.param(
            b'{"inputs": {"u0": {"shape": [2], "dtype": "F32", "data": "AAAA"}}}',
            "malformed_body",
            "inputs.u0",
            id="too few bytes",
        ),
        pytest.param(
            b'{"inputs": {"u0": {"shape": [1], "dtype": "F32", "data": "?"}}}',
            "malformed_body",
            "inputs.u0",
            id="not base64",
        ),
        pytest.param(b"", "unsupported_media_type", None, id="empty"),
        pytest.param(b"x" * 100, "unsupported_media_type", None, id="noise"),
    ],
)
def test_malformed_json(http: httpx.Client, body: bytes, code: str, field: str | None) -> None:
    response = http.post("/v1/models/double/solve", content=body)
    assert 400 <= response.status_code < 500
    assert (response.json()["code"], response.json().get("field")) == (code, field)


@pytest.mark.parametrize(
    ("headers", "code", "field"),
    [
        ({"Content-Encoding": "gzip"}, "unsupported_media_type", "Content-Encoding"),
        ({"Certisolve-Deadline-Ms": "soon"}, "invalid_option", "Certisolve-Deadline-Ms"),
        ({"Certisolve-Deadline-Ms": "-5"}, "invalid_option", "Certisolve-Deadline-Ms"),
        ({"Certisolve-Deadline-Ms": "9" * 40}, "invalid_option", "Certisolve-Deadline-Ms"),
        ({"Content-Type": "application/x-safetensors"}, "malformed_body", None),
    ],
)
def test_bad_headers(http: httpx.Client, headers: dict[str, str], code: str, field: str) -> None:
    response = http.post("/v1/models/double/solve", content=b'{"inputs": {}}', headers=headers)
    assert (response.json()["code"], response.json().get("field")) == (code, field)


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing", 404, "not_found"),
        ("GET", "/v1/models/double/solve", 405, "method_not_allowed"),
        ("POST", "/v1/models", 405, "method_not_allowed"),
        ("GET", "/v1/models/nope", 404, "unknown_model"),
        ("GET", "/v1/models/double?version=9", 404, "unknown_version"),
        ("GET", "/v1/jobs/nope", 404, "unknown_job"),
        ("GET", "/v1/jobs/nope?wait_s=x", 422, "invalid_option"),
        ("GET", "/v1/jobs/nope?wait_s=nan", 422, "invalid_option"),
        ("DELETE", "/v1/jobs/nope", 404, "unknown_job"),
        ("POST", "/v1/models/%00%2e%2e/solve", 415, "unsupported_media_type"),
    ],
)
def test_wrong_paths(http: httpx.Client, method: str, path: str, status: int, code: str) -> None:
    response = http.request(method, path)
    assert (response.status_code, response.json()["code"]) == (status, code)


def test_a_chunked_body_over_the_limit_is_refused(http: httpx.Client) -> None:
    chunks = (b" " * 65536 for _ in range(32))
    response = http.post("/v1/models/double/solve", content=chunks)
    assert (response.status_code, response.json()["code"]) == (413, "body_too_large")


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    body=st.binary(max_size=300),
    media_type=st.sampled_from([wire.SAFETENSORS, "application/json", "text/plain"]),
)
def test_noise_is_never_a_server_error(http: httpx.Client, body: bytes, media_type: str) -> None:
    headers = {"Content-Type": media_type}
    response = http.post("/v1/models/double/solve", content=body, headers=headers)
    assert 400 <= response.status_code < 500


_JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=12,
)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(u0=_JSON, rest=st.dictionaries(st.sampled_from(["t", "options", "parameters"]), _JSON))
def test_odd_json_is_never_a_server_error(
    http: httpx.Client, u0: object, rest: dict[str, object]
) -> None:
    body = json.dumps({"inputs": {"u0": u0}, **rest})
    response = http.post("/v1/models/double/solve", content=body)
    assert 400 <= response.status_code < 500


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    dtype=st.sampled_from(["F32", "F64", "BF16", "", "C64"]),
    shape=st.lists(st.integers(-2, 40), max_size=4),
    data=st.binary(max_size=80),
)
def test_odd_tensors_over_grpc_are_never_a_server_error(
    channel: grpc.Channel, dtype: str, shape: list[int], data: bytes
) -> None:
    tensor = tensor_pb2.Tensor(dtype=dtype, shape=shape, data=data)
    request = solve_pb2.SolveRequest(model="double", inputs={"u0": tensor})
    assert _problem(channel, request)["code"] not in ("", "internal")


def _tensor(array: np.ndarray) -> tensor_pb2.Tensor:
    return tensor_pb2.Tensor(
        dtype=wire.dtype_name(array), shape=array.shape, data=bytes(wire.to_bytes(array))
    )


def _problem(channel: grpc.Channel, request: solve_pb2.SolveRequest) -> dict[str, Any]:
    with pytest.raises(grpc.RpcError) as raised:
        solve_pb2_grpc.SolverServiceStub(channel).Solve(request, timeout=20)
    [detail] = rpc_status.from_call(raised.value).details
    problem = problem_pb2.Problem()
    assert detail.Unpack(problem)
    return MessageToDict(problem, preserving_proto_field_name=True)

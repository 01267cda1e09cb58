"""Odd requests for certificates get a 4xx that names the field, or a certificate; never a 5xx."""

import json
import math
from collections.abc import Iterator
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from grpc_status import rpc_status
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from certisolve import wire
from certisolve.v1 import certifier_pb2, certifier_pb2_grpc, problem_pb2, tensor_pb2
from certisolve_server.bench import LocalServer

CENTER = np.linspace(0.1, 0.9, 16)
BALL = {"center": {"u0": CENTER.tolist()}, "radius": 0.1, "norm": "linf"}
BODY: dict[str, Any] = {"domain": BALL, "budget_s": 0}
_PATH = "/v1/models/double/certify"
_FUZZED = settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(scope="module")
def http(server: LocalServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.http, timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def channel(server: LocalServer) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(server.grpc.removeprefix("grpc://")) as channel:
        yield channel


REFUSED: dict[str, tuple[Any, str, str | None]] = {
    "no object": ([], "unsupported_media_type", None),
    "no set": ({}, "invalid_option", "domain"),
    "another word": ({"domain": "local"}, "invalid_option", "domain"),
    "a number": ({"domain": 3}, "invalid_option", "domain"),
    "an empty set": ({"domain": {}}, "invalid_option", "domain.lower"),
    "no center": ({"domain": {"radius": 1.0}}, "invalid_option", "domain.center"),
    "no radius": ({"domain": {"center": BALL["center"]}}, "invalid_option", "domain.radius"),
    "a radius in words": (
        {"domain": BALL | {"radius": "large"}}, "invalid_option", "domain.radius",
    ),
    "a negative radius": ({"domain": BALL | {"radius": -1}}, "invalid_option", "domain.radius"),
    "an unknown norm": ({"domain": BALL | {"norm": "l3"}}, "invalid_option", "domain.norm"),
    "another key of the set": ({"domain": BALL | {"shape": 1}}, "invalid_option", "domain.shape"),
    "an unknown key": (BODY | {"budget": 1}, "invalid_option", "budget"),
    "a center in words": (
        {"domain": BALL | {"center": {"u0": ["a"]}}}, "malformed_body", "domain.center.u0",
    ),
    "a center that is a list": (
        {"domain": BALL | {"center": [1.0]}}, "malformed_body", "domain.center",
    ),
    "null in a center": (
        {"domain": BALL | {"center": {"u0": [None] * 16}}}, "malformed_body", "domain.center.u0",
    ),
    "rows": (
        {"domain": BALL | {"center": {"u0": [[1.0], [1.0, 2.0]]}}},
        "wrong_shape",
        "domain.center.u0",
    ),
    "many inputs": (
        BODY | {"inputs": {f"u{i}": [0.0] for i in range(300)}}, "invalid_option", "inputs",
    ),
    "many parameters": (
        BODY | {"parameters": {f"p{i}": 0.0 for i in range(300)}}, "invalid_option", "parameters",
    ),
    "a level that is no word": (BODY | {"soundness": ["real"]}, "invalid_option", "soundness"),
    "NaN": (BODY | {"budget_s": math.nan}, "malformed_body", None),
    "a radius that is not finite": (
        {"domain": BALL | {"radius": math.inf}}, "malformed_body", None,
    ),
    "a budget in words": (BODY | {"budget_s": "long"}, "invalid_option", "budget_s"),
    "a negative budget": (BODY | {"budget_s": -1}, "invalid_option", "budget_s"),
    "too long a budget": (BODY | {"budget_s": 601}, "invalid_option", "budget_s"),
    "a level": (BODY | {"soundness": "hopeful"}, "invalid_option", "soundness"),
    "a scale of zero": (
        BODY | {"input_scale": {"u0": 0.0}}, "invalid_option", "input_scale.u0",
    ),
    "a component in words": (BODY | {"component": "3"}, "invalid_option", "component"),
    "half a component": (BODY | {"component": 0.5}, "invalid_option", "component"),
    "a resolution of a ball": (BODY | {"resolution": [16]}, "invalid_option", "resolution"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_http_names_the_field(http: httpx.Client, case: str) -> None:
    body, code, field = REFUSED[case]
    response = http.post(_PATH, content=json.dumps(body))
    assert 400 <= response.status_code < 500
    said = response.json()
    assert (said["code"], said.get("field")) == (code, field)


def test_wrong_paths(http: httpx.Client) -> None:
    response = http.post("/v1/models/nope/certify", json=BODY)
    assert (response.status_code, response.json()["code"]) == (404, "unknown_model")
    response = http.get(_PATH)
    assert (response.status_code, response.json()["code"]) == (405, "method_not_allowed")


def test_a_deadline_that_passes_is_told(http: httpx.Client) -> None:
    body = BODY | {"budget_s": 5, "domain": BALL | {"radius": 0.77}, "gap": 1.0}
    response = http.post(_PATH, json=body, headers={"Certisolve-Deadline-Ms": "1"})
    assert (response.status_code, response.json()["code"]) == (504, "deadline_exceeded")


@_FUZZED
@given(
    body=st.binary(max_size=300),
    media_type=st.sampled_from([wire.SAFETENSORS, "application/json", "text/plain"]),
)
def test_noise_is_never_a_server_error(http: httpx.Client, body: bytes, media_type: str) -> None:
    response = http.post(_PATH, content=body, headers={"Content-Type": media_type})
    assert 400 <= response.status_code < 500


_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.floats(-10, 10, allow_nan=False)
    | st.integers(-10, 10)
    | st.sampled_from([1 << 70, -1e300, "l2", "global", "u0", "u"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["u0", "u", "center", "lower", "radius", "x"]), inner)
    ),
    max_leaves=8,
)
_KEYS = (
    "inputs", "parameters", "resolution", "input_norm", "output_norm", "input_scale",
    "output_scale", "output", "component", "soundness", "gap", "max_splits", "steps", "t", "seed",
    "version",
)  # fmt: skip


@_FUZZED
@given(rest=st.dictionaries(st.sampled_from(_KEYS), _JSON, min_size=1, max_size=3))
def test_odd_json_is_never_a_server_error(http: httpx.Client, rest: dict[str, object]) -> None:
    assert http.post(_PATH, content=json.dumps(BODY | rest)).status_code < 500


@_FUZZED
@given(domain=_JSON, part=st.sampled_from([None, "center", "radius", "norm", "lower", "upper"]))
def test_odd_sets_are_never_a_server_error(
    http: httpx.Client, domain: object, part: str | None
) -> None:
    said = domain if part is None else BALL | {part: domain}
    assert http.post(_PATH, content=json.dumps({"domain": said, "budget_s": 0})).status_code < 500


@_FUZZED
@given(
    dtype=st.sampled_from(["F32", "F64", "I64", "BOOL", "BF16", "", "C64"]),
    shape=st.lists(st.integers(-2, 40), max_size=4),
    data=st.binary(max_size=80),
    radius=st.floats(),
    norm=st.sampled_from(["l1", "", "l3"]),
    budget_s=st.sampled_from([0.0, math.nan, math.inf, -1.0]),
)
def test_odd_messages_are_never_a_server_error(
    channel: grpc.Channel, dtype, shape, data, radius, norm, budget_s
) -> None:
    tensor = tensor_pb2.Tensor(dtype=dtype, shape=shape, data=data)
    ball = certifier_pb2.BallDomain(center={"u0": tensor}, radius=radius, norm=norm)
    request = certifier_pb2.CertifyRequest(model="double", ball=ball, budget_s=budget_s)
    with pytest.raises(grpc.RpcError) as raised:
        certifier_pb2_grpc.CertifierServiceStub(channel).Certify(request, timeout=60)
    [detail] = rpc_status.from_call(raised.value).details
    problem = problem_pb2.Problem()
    assert detail.Unpack(problem)
    assert problem.code not in ("", "internal")

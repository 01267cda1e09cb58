"""What bodies without our SDK may say of times and tolerances: an answer or a 4xx, never a 5xx."""

import json
from collections.abc import Iterator

import grpc
import httpx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from certisolve import wire
from certisolve.v1 import solve_pb2, solve_pb2_grpc, tensor_pb2
from certisolve_server.bench import LocalServer
from family_models import SIZE

FIELD = np.linspace(0.1, 0.9, SIZE, dtype=np.float32)
INPUTS = {
    "drift": {"w": FIELD, "f": FIELD},
    "recall": {"u": np.stack([FIELD, FIELD])},
    "pendulum": {"x": np.ones((3, 2), np.float32)},
    "rotation": {"y": np.ones(2, np.float32)},
    "screened": {"k": FIELD, "f": FIELD.astype(np.float64)},
    "members": {"u0": FIELD},
}


@pytest.fixture(scope="module")
def http(family_server: LocalServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=family_server.http, timeout=30) as client:
        yield client


@pytest.fixture(scope="module")
def solver(family_server: LocalServer) -> Iterator[solve_pb2_grpc.SolverServiceStub]:
    with grpc.insecure_channel(family_server.grpc.removeprefix("grpc://")) as channel:
        yield solve_pb2_grpc.SolverServiceStub(channel)


def post(http, model, rest):
    inputs = {name: array.tolist() for name, array in INPUTS[model].items()}
    return http.post(f"/v1/models/{model}/solve", content=json.dumps({"inputs": inputs} | rest))


def call(solver, model, *, t=(), **options):
    inputs = {
        name: tensor_pb2.Tensor(
            dtype=wire.dtype_name(array), shape=array.shape, data=array.tobytes()
        )
        for name, array in INPUTS[model].items()
    }
    message = solve_pb2.SolveRequest(
        model=model, inputs=inputs, t=t, options=solve_pb2.SolveOptions(**options)
    )
    return solver.Solve(message, timeout=30)


@pytest.mark.parametrize("model", INPUTS)
def test_plain_json_is_answered_with_what_was_found(http, model):
    reply = post(http, model, {}).json()
    assert reply["status"] == "ok"
    told = {k for k, v in reply["diagnostics"].items() if v is not None}
    common = {"in_validated_range", "out_of_range", "expected_error"}
    found = {
        "drift": {"residual", "knot_excess", "nfe"},
        "recall": {"nfe"},
        "pendulum": {"nfe", "noise_gain"},
        "rotation": {"nfe", "rejected_steps"},
        "screened": {"nfe", "residual"},
        "members": {"conservation_defect"},
    }
    assert told == common | found[model]
    assert reply["axes"].keys() == reply["fields"].keys()


def test_frames_stand_in_front(http):
    reply = post(http, "drift", {"t": [0.1, 0.5]}).json()
    assert reply["axes"]["w"] == ["t", "x"]
    assert np.shape(reply["fields"]["w"]) == (2, SIZE)
    assert reply["t"] == [0.1, 0.5]


def test_safetensors_carry_the_findings_in_their_metadata(http):
    body = wire.encode_safetensors(INPUTS["drift"], {"t": [0.1]})
    headers = {"Content-Type": wire.SAFETENSORS}
    reply = http.post("/v1/models/drift/solve", content=body, headers=headers)
    tensors, metadata = wire.decode_safetensors(reply.content)
    assert tensors["w"].shape == (1, SIZE)
    assert metadata["diagnostics"]["nfe"] == 1
    assert metadata["diagnostics"]["residual"] == pytest.approx(tensors["w"].mean(), rel=1e-5)


def test_a_solver_that_gives_up_says_so_over_both(http, solver):
    # Stricter than float64 reaches with the default; the residual is told whatever it is.
    reply = post(http, "screened", {"options": {"tolerance": 1e-12}}).json()
    message = call(solver, "screened", tolerance=1e-12)
    assert reply["status"] == message.status
    assert reply["diagnostics"]["nfe"] == message.diagnostics.nfe
    assert reply["diagnostics"]["residual"] == message.diagnostics.residual


FAR = {
    "nothing": ({"t": []}, "t"),
    "text": ({"t": ["soon"]}, "t.0"),
    "null": ({"t": [None]}, "t.0"),
    "no list": ({"t": 0.1}, "t"),
    "a step that is none": ({"t": [0.1, 0.15]}, "t.1"),
    "far": ({"t": [1e300]}, "t.0"),
    "tiny": ({"t": [5e-324]}, "t.0"),
    "many": ({"t": [step / 10 for step in range(1, 2000)]}, "t"),
    "a tolerance": ({"options": {"tolerance": 0.1}}, "options.tolerance"),
    "a tolerance in words": ({"options": {"tolerance": "strict"}}, "options.tolerance"),
    "an unknown option": ({"options": {"steps": 3}}, "options.steps"),
}


@pytest.mark.parametrize(("rest", "field"), FAR.values(), ids=FAR)
def test_times_and_options_of_another_form_are_refused_by_their_place(http, rest, field):
    reply = post(http, "drift", rest)
    assert reply.status_code == 422
    assert reply.json()["field"] == field


@pytest.mark.parametrize("text", ["NaN", "Infinity", "1e999", "-1e999"])
@pytest.mark.parametrize(
    "rest", ['"t": [%s]', '"options": {"tolerance": %s}', '"options": {"atol": %s}']
)
def test_what_is_no_number_in_json_is_refused(http, rest, text):
    inputs = json.dumps({name: array.tolist() for name, array in INPUTS["screened"].items()})
    body = f'{{"inputs": {inputs}, {rest % text}}}'
    reply = http.post("/v1/models/screened/solve", content=body)
    assert reply.status_code in (400, 422)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 0.0, 1e308])
def test_what_json_cannot_say_is_refused_over_grpc(solver, value):
    for model, asked in (("drift", {"t": [value]}), ("rotation", {"t": [value]})):
        with pytest.raises(grpc.RpcError) as raised:
            call(solver, model, **asked)
        assert raised.value.code() in (
            grpc.StatusCode.INVALID_ARGUMENT,
            grpc.StatusCode.OUT_OF_RANGE,
        )
    for model, asked in (("screened", {"tolerance": value}), ("rotation", {"rtol": value})):
        with pytest.raises(grpc.RpcError) as raised:
            call(solver, model, **asked)
        assert raised.value.code() in (
            grpc.StatusCode.INVALID_ARGUMENT,
            grpc.StatusCode.OUT_OF_RANGE,
        )


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(sorted(INPUTS)),
    st.lists(st.integers(-1, 30).map(lambda n: n / 10) | st.floats(), max_size=6),
    st.none() | st.floats(),
)
def test_any_times_and_tolerance_are_answered_or_refused(http, solver, model, t, tolerance):
    options = {} if tolerance is None else {"tolerance": tolerance}
    assert _outcome(lambda: call(solver, model, t=t, **options)) in (
        "ok",
        "not_finite",
        "not_converged",
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.OUT_OF_RANGE,
    )
    reply = post(http, model, {"t": t, "options": options})
    assert reply.status_code in (200, 400, 422), reply.text


def _outcome(ask):
    try:
        return ask().status
    except grpc.RpcError as error:
        return error.code()

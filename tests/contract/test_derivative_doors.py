"""Derivatives are those of plain loops through every door, and refused by the same names."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import httpx
import numpy as np
import pytest
import torch

from certisolve import AsyncClient, Client, Derivative, InvalidRequest
from certisolve_server.bench import LocalServer
from family_models import SIZE, cascade, moved_mean, solved, three_drifts, three_recalls

RNG = np.random.default_rng(4)
FIELD, FORCING = RNG.uniform(0.1, 0.9, (2, SIZE)).astype(np.float32)
HISTORY = RNG.uniform(0.1, 0.9, (5, SIZE)).astype(np.float32)
MEASURED = RNG.uniform(-1, 1, (6, 2)).astype(np.float32)
SOURCE = RNG.normal(size=SIZE).astype(np.float32)
K = 3
#: A few roundings of float32, and of the tolerance of a linear system.
ROUNDING = 1e-5

#: Inputs, a plain loop over rows, and the names of its outputs.
PROBLEMS: dict[str, tuple[Mapping[str, np.ndarray], Callable[..., Any], tuple[str, ...]]] = {
    "drift": ({"w": FIELD, "f": FORCING}, three_drifts, ("v", "w")),
    "recall": ({"u": HISTORY}, three_recalls, ("u", "passes")),
    "pendulum": ({"x": MEASURED}, lambda x: (cascade(x, 3),), ("x",)),
    "members": ({"u0": FIELD}, moved_mean, ("u", "u_std")),
    "screened": ({"k": FIELD, "f": SOURCE}, lambda k, f: (solved(k, f),), ("u",)),
}
RATE = 0.5


def sync_door(url: str, kind: str, *args: Any, **options: Any) -> Derivative:
    with Client(url) as client:
        return getattr(client, kind)(*args, **options)


def async_door(url: str, kind: str, *args: Any, **options: Any) -> Derivative:
    async def ask() -> Derivative:
        async with AsyncClient(url) as client:
            return await getattr(client, kind)(*args, **options)

    return asyncio.run(ask())


DOORS = {
    "http-sync": ("http", sync_door),
    "http-async": ("http", async_door),
    "grpc-sync": ("grpc", sync_door),
    "grpc-async": ("grpc", async_door),
}
every_door = pytest.mark.parametrize("door", DOORS)
every_scheme = pytest.mark.parametrize("scheme", ["http", "grpc"])
every_model = pytest.mark.parametrize("model", PROBLEMS)


def through(door: str, server: LocalServer, kind: str, *args: Any, **options: Any) -> Derivative:
    scheme, ask = DOORS[door]
    return ask(server.url(scheme), kind, *args, **options)


def loop(model: str) -> tuple[Callable[..., tuple[torch.Tensor, ...]], list[torch.Tensor]]:
    """The solution of one request as a function, and where."""
    inputs, answer, _ = PROBLEMS[model]
    at = [torch.from_numpy(array) for array in inputs.values()]
    if model == "drift":
        at.append(torch.tensor(RATE))

    def one(*arguments: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(output[0] for output in answer(*(each[None] for each in arguments)))

    return one, at


def directions_like(tensors: list[torch.Tensor]) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn((K, *each.shape), generator=generator) for each in tensors]


def near(actual: np.ndarray, expected: torch.Tensor) -> None:
    scale = float(expected.abs().max())
    np.testing.assert_allclose(actual, expected.numpy(), rtol=0, atol=ROUNDING * (scale or 1.0))


@every_door
@every_model
def test_forward_mode_is_that_of_a_plain_loop(door, model, family_server: LocalServer):
    inputs, _, names = PROBLEMS[model]
    one, at = loop(model)
    tangents = directions_like(at)
    expected = [torch.func.jvp(one, tuple(at), along)[1] for along in zip(*tangents, strict=True)]
    more = {"parameter_tangents": {"rate": tangents[2]}} if model == "drift" else {}
    derivative = through(
        door, family_server, "jvp", model, inputs, dict(zip(inputs, tangents, strict=False)), **more
    )
    assert derivative.derivatives.keys() == set(names)
    assert not derivative.parameter_derivatives
    assert derivative.solution.status == "ok"
    for index, name in enumerate(names):
        near(derivative.solution.fields[name], one(*at)[index])
        near(derivative.derivatives[name], torch.stack([each[index] for each in expected]))


@every_door
@every_model
def test_reverse_mode_is_that_of_a_plain_loop(door, model, family_server: LocalServer):
    inputs, _, names = PROBLEMS[model]
    one, at = loop(model)
    outputs, pull = torch.func.vjp(one, *at)
    random = directions_like(list(outputs))
    cotangents = [each.to(output) for each, output in zip(random, outputs, strict=True)]
    expected = [pull(along) for along in zip(*cotangents, strict=True)]
    sent = {name: each.numpy() for name, each in zip(names, cotangents, strict=True)}
    derivative = through(door, family_server, "vjp", model, inputs, sent)
    assert derivative.derivatives.keys() == inputs.keys()
    for index, name in enumerate(inputs):
        near(derivative.derivatives[name], torch.stack([each[index] for each in expected]))
    assert derivative.parameter_derivatives.keys() == ({"rate"} if model == "drift" else set())
    for found in derivative.parameter_derivatives.values():
        near(found, torch.stack([each[2] for each in expected]))


@every_scheme
def test_a_single_direction_needs_no_axis(scheme, family_server: LocalServer):
    with Client(family_server.url(scheme)) as client:
        inputs = {"w": FIELD, "f": FORCING}
        one = client.jvp("drift", inputs, {"w": FORCING}, parameter_tangents={"rate": 2.0}, t=0.2)
        two = client.jvp(
            "drift", inputs, {"w": FORCING[None]}, parameter_tangents={"rate": [2.0]}, t=0.2
        )
        assert one.derivatives["v"].shape == (1, SIZE)
        assert two.derivatives["v"].shape == (1, 1, SIZE)
        np.testing.assert_array_equal(one.derivatives["v"], two.derivatives["v"][0])
        back = client.vjp("drift", inputs, {"w": one.solution.fields["w"]}, t=0.2)
        assert back.derivatives["f"].shape == (SIZE,)
        assert back.parameter_derivatives["rate"].shape == ()


@every_scheme
def test_what_is_left_out_does_not_change(scheme, family_server: LocalServer):
    with Client(family_server.url(scheme)) as client:
        found = client.jvp(
            "drift", {"w": FIELD, "f": FORCING}, {}, parameter_tangents={"rate": [1.0]}, steps=1
        )
    # w <- rate w + f, v = 2 w.
    np.testing.assert_allclose(found.derivatives["w"][0, 0], FIELD, rtol=1e-6)
    np.testing.assert_allclose(found.derivatives["v"][0, 0], 2 * FIELD, rtol=1e-6)


@every_scheme
def test_steps_and_frames_are_those_of_a_solve(scheme, family_server: LocalServer):
    with Client(family_server.url(scheme)) as client:
        found = client.jvp("recall", {"u": HISTORY}, {"u": HISTORY}, steps=6, save_every=3)
        solution = client.solve("recall", {"u": HISTORY}, steps=6, save_every=3)
    np.testing.assert_array_equal(found.solution.t, solution.t)
    np.testing.assert_array_equal(found.solution.fields["u"], solution.fields["u"])
    assert found.derivatives["u"].shape == (2, SIZE)


@every_scheme
def test_derivatives_are_on_the_grid_that_was_sent(scheme, server: LocalServer):
    """The model resamples 24 points to 32 and back, and doubles."""
    rng = np.random.default_rng(2)
    u, v = rng.normal(size=(2, 24)).astype(np.float32)
    with Client(server.url(scheme)) as client:
        forward = client.jvp("resampling", {"u0": u}, {"u0": v})
        backward = client.vjp("resampling", {"u0": u}, {"u": u})
    assert forward.solution.diagnostics.resampled_from == {"x": 24}
    assert forward.derivatives["u"].shape == backward.derivatives["u0"].shape == (24,)
    np.testing.assert_allclose(
        u @ forward.derivatives["u"], backward.derivatives["u0"] @ v, rtol=1e-5
    )


REFUSED: dict[str, tuple[str, str, dict[str, Any], str]] = {
    "another name": ("jvp", "drift", {"tangents": {"q": FIELD}}, "tangents.q"),
    "a shape": ("jvp", "drift", {"tangents": {"w": FIELD[:5]}}, "tangents.w"),
    "too many axes": ("jvp", "drift", {"tangents": {"w": FIELD[None, None]}}, "tangents.w"),
    "frames": ("vjp", "drift", {"cotangents": {"w": FIELD[None, None]}}, "cotangents.w"),
    "not finite": ("jvp", "drift", {"tangents": {"w": FIELD * np.nan}}, "tangents.w"),
    "unequal numbers": (
        "jvp",
        "drift",
        {"tangents": {"w": FIELD[None], "f": FIELD + np.zeros((2, 1), np.float32)}},
        "tangents.f",
    ),
    "another parameter": (
        "jvp",
        "drift",
        {"tangents": {"w": FIELD}, "parameter_tangents": {"speed": [1.0]}},
        "parameter_tangents.speed",
    ),
    "no direction": (
        "jvp",
        "drift",
        {"tangents": {"w": np.zeros((0, SIZE), np.float32)}},
        "tangents",
    ),
    "too many": (
        "jvp",
        "drift",
        {"tangents": {}, "parameter_tangents": {"rate": np.zeros(1025, np.float32)}},
        "tangents",
    ),
    "too far": (
        "jvp",
        "drift",
        {"tangents": {"w": np.zeros((5, SIZE), np.float32)}, "steps": 4096, "save_every": 4096},
        "tangents",
    ),
    "an answer too large": (
        "jvp",
        "drift",
        {"tangents": {"w": np.zeros((100, SIZE), np.float32)}, "steps": 8},
        "tangents",
    ),
}


@every_scheme
@pytest.mark.parametrize("case", REFUSED)
def test_the_field_at_fault_is_named(scheme, case, family_server: LocalServer):
    kind, model, asked, field = REFUSED[case]
    with Client(family_server.url(scheme)) as client, pytest.raises(InvalidRequest) as caught:
        getattr(client, kind)(model, {"w": FIELD, "f": FORCING}, **asked)
    assert caught.value.field == field


# --- HTTP by hand ---------------------------------------------------------------------------------


def post(server: LocalServer, path: str, body: dict[str, Any], **headers: str) -> httpx.Response:
    return httpx.post(f"{server.url('http')}/v1/models/{path}", json=body, headers=headers)


def test_plain_json_will_do(server: LocalServer):
    response = post(
        server,
        "scale/jvp",
        {
            "inputs": {"u0": [1.0] * 16},
            "parameters": {"gain": 2},
            "tangents": {"u0": [[1] * 16, [0] * 16]},
            "parameter_tangents": {"gain": [0, 3]},
        },
    )
    assert response.status_code == 200
    reply = response.json()
    assert reply["fields"]["u"] == [2.0] * 16
    assert reply["derivatives"]["u"] == [[2.0] * 16, [3.0] * 16]
    assert reply["parameter_derivatives"] == {}
    back = post(
        server,
        "scale/vjp",
        {"inputs": {"u0": [1.0] * 16}, "parameters": {"gain": 2}, "cotangents": {"u": [1] * 16}},
    ).json()
    assert back["derivatives"]["u0"] == [[2.0] * 16]
    assert back["parameter_derivatives"]["gain"] == [16.0]


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        ({"tangents": [1]}, "malformed_body", "tangents"),
        ({"cotangents": {"u": [1] * 16}}, "invalid_option", "cotangents"),
        ({"tangents": {"u0": ["a"] * 16}}, "malformed_body", "tangents.u0"),
        ({}, "missing_input", "tangents"),
    ],
)
def test_bodies_that_make_no_sense_are_refused(body, code, field, server: LocalServer):
    response = post(server, "double/jvp", {"inputs": {"u0": [1.0] * 16}, **body})
    assert (response.json()["code"], response.json()["field"]) == (code, field)


def test_a_key_is_refused(server: LocalServer):
    body = {"inputs": {"u0": [1.0] * 16}, "tangents": {"u0": [1.0] * 16}}
    response = post(server, "double/jvp", body, **{"Idempotency-Key": "again"})
    assert response.status_code == 422
    assert response.json()["field"] == "Idempotency-Key"


def test_derivatives_that_are_infinite_are_null(server: LocalServer):
    body = {"inputs": {"u0": [0.0] * 16}, "tangents": {"u0": [1.0] * 16}}
    reply = post(server, "log/jvp", body).json()
    assert reply["status"] == "not_finite"
    assert reply["derivatives"]["u"][0][0] is None


def test_the_document_describes_derivatives(server: LocalServer):
    document = httpx.get(f"{server.url('http')}/openapi.json").json()
    for kind in ("jvp", "vjp"):
        operation = document["paths"][f"/v1/models/{{model}}/{kind}"]["post"]
        reply = operation["responses"]["200"]["content"]["application/json"]["schema"]["$ref"]
        assert reply.rpartition("/")[2] in document["components"]["schemas"]

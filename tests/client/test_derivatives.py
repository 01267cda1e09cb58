"""Derivatives in the SDK: what is sent, and what comes back."""

import asyncio

import numpy as np
import pytest
import torch

from certisolve import AsyncClient, Client, Derivative, InvalidReply, MockTransport, Reply

U0 = np.linspace(0, 1, 4, dtype=np.float32)
BODY = {
    "axes": {"u": ["t", "x"]},
    "t": [1.0],
    "status": "ok",
    "diagnostics": None,
    "timings_ms": {"queue": 0, "batch": 0, "compute": 1},
    "batch_size": 1,
    "model": {"name": "double", "version": "1", "digest": "d"},
}


def served(call):
    """Twice the input as the one frame, and as many directions as were sent."""
    role = "tangents." if call.operation == "jvp" else "cotangents."
    [sent] = [array for name, array in call.tensors.items() if name.startswith(role)] or [None]
    rank = 1 if call.operation == "jvp" else 2
    count = 2 if sent is None else (len(sent) if sent.ndim > rank else 1)
    tensors = {"u": 2 * U0[None], "coords.x": np.arange(4.0)}
    if call.operation == "jvp":
        tensors["derivatives.u"] = np.ones((count, 1, 4), np.float32)
    else:
        tensors["derivatives.u0"] = np.ones((count, 4), np.float32)
        tensors["parameter_derivatives.gain"] = np.ones(count, np.float32)
    return Reply(tensors, BODY)


class Recorded:
    """A client, and the calls that it made."""

    def __init__(self, answer=served):
        self.calls = []
        self._answer = answer
        self.client = Client("http://unused", tenant="lab", transport=MockTransport(self._note))

    def _note(self, call):
        self.calls.append(call)
        return self._answer(call)


def test_directions_travel_under_their_roles():
    recorded = Recorded()
    recorded.client.jvp(
        "double",
        {"u0": U0},
        {"u0": torch.zeros(3, 4, dtype=torch.float64)},
        parameter_tangents={"gain": [1, 2, 3]},
        parameters={"gain": 2.0},
        t=1.0,
        diagnostics=False,
        timeout=5,
    )
    [call] = recorded.calls
    assert (call.operation, call.model, call.tenant, call.timeout_s) == ("jvp", "double", "lab", 5)
    assert call.tensors.keys() == {"u0", "tangents.u0", "parameter_tangents.gain"}
    assert call.tensors["tangents.u0"].dtype == np.float32
    assert call.tensors["parameter_tangents.gain"].tolist() == [1, 2, 3]
    assert call.body == {"parameters": {"gain": 2.0}, "t": [1.0], "options": {"diagnostics": False}}
    assert call.idempotency_key is None


def test_a_solution_comes_with_its_derivatives():
    derivative = Recorded().client.jvp("double", {"u0": U0}, {"u0": np.ones((3, 4))})
    assert isinstance(derivative, Derivative)
    assert derivative.solution.fields.keys() == {"u"}
    assert derivative.solution.coords.keys() == {"x"}
    assert derivative.derivatives["u"].shape == (3, 1, 4)
    assert derivative.parameter_derivatives == {}


def test_a_single_direction_has_no_axis_and_gets_none():
    client = Recorded().client
    assert client.jvp("double", {"u0": U0}, {"u0": U0}).derivatives["u"].shape == (1, 4)
    assert client.jvp("double", {"u0": U0}, {"u0": U0[None]}).derivatives["u"].shape == (1, 1, 4)
    back = client.vjp("double", {"u0": U0}, {"u": U0[None]})
    assert back.derivatives["u0"].shape == (4,)
    assert back.parameter_derivatives["gain"].shape == ()
    back = client.vjp("double", {"u0": U0}, {"u": U0[None, None]})
    assert back.derivatives["u0"].shape == (1, 4)
    assert back.parameter_derivatives["gain"].shape == (1,)


def test_directions_of_parameters_alone_will_do():
    client = Recorded().client
    several = client.jvp("double", {"u0": U0}, {}, parameter_tangents={"gain": [1.0, 2.0]})
    assert several.derivatives["u"].shape == (2, 1, 4)
    one = client.jvp("double", {"u0": U0}, {}, parameter_tangents={"gain": 1.0})
    assert one.derivatives["u"].shape == (1, 4)


def test_what_makes_no_sense_is_refused_before_it_travels():
    recorded = Recorded()
    with pytest.raises(ValueError, match="tangents: name at least one direction"):
        recorded.client.jvp("double", {"u0": U0}, {})
    with pytest.raises(ValueError, match="cotangents: name at least one direction"):
        recorded.client.vjp("double", {"u0": U0}, {})
    with pytest.raises(TypeError, match=r"tangents\.u0"):
        recorded.client.jvp("double", {"u0": U0}, {"u0": "up"})
    with pytest.raises(ValueError, match="steps"):
        recorded.client.vjp("double", {"u0": U0}, {"u": U0}, steps=0)
    assert not recorded.calls


def test_a_reply_that_lacks_something_is_no_derivative():
    client = Recorded(lambda call: Reply({}, {})).client
    with pytest.raises(InvalidReply, match="jvp"):
        client.jvp("double", {"u0": U0}, {"u0": U0})


def test_the_same_with_await():
    async def ask():
        async with AsyncClient("http://unused", transport=MockTransport(served)) as client:
            forward = await client.jvp("double", {"u0": U0}, {"u0": U0})
            return forward, await client.vjp("double", {"u0": U0}, {"u": U0[None]})

    forward, backward = asyncio.run(ask())
    assert forward.derivatives["u"].shape == (1, 4)
    assert backward.derivatives["u0"].shape == (4,)

"""Sessions as bytes, and whatever else may come in their place."""

import contextlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from certisolve import wire
from certisolve_server.errors import InvalidRequest, WrongShape
from certisolve_server.jobs import ModelKey
from certisolve_server.sessions.snapshot import decode, encode, model_of
from certisolve_server.sessions.state import SessionOptions, SessionState
from family_models import SIZE, pendulum_manifest, recall_manifest

RECALL, PENDULUM = recall_manifest(), pendulum_manifest()
KEY = ModelKey("recall", "1", "digest")
numbers = st.floats(allow_nan=False, allow_infinity=False)


def state(**changes) -> SessionState:
    values = {
        "model": KEY,
        "t": 0.5,
        "origin": 0.1,
        "steps": 4,
        "known_at": 0.3,
        "blended": True,
        "inputs": (np.arange(2 * SIZE, dtype=np.float32).reshape(2, SIZE),),
        "states": (np.ones((SIZE, 2), np.float32),),
        "parameters": (),
        "options": SessionOptions(0, 1.0, 1000.0, 60.0),
        "last_call": "abc",
    }
    return SessionState(**(values | changes))


def assert_same(one: SessionState, other: SessionState) -> None:
    arrays = {"inputs": (), "states": ()}
    assert replace(one, **arrays) == replace(other, **arrays)
    for role in arrays:
        for array, twin in zip(getattr(one, role), getattr(other, role), strict=True):
            assert array.dtype == twin.dtype
            np.testing.assert_array_equal(array, twin)


@given(
    t=numbers,
    origin=numbers,
    steps=st.integers(0, 2**40),
    blended=st.booleans(),
    parameters=st.lists(numbers, max_size=3).map(tuple),
    ttl_s=numbers,
    last_call=st.text(max_size=5).filter(lambda text: text.isprintable()),
)
def test_a_snapshot_is_read_as_it_was_written(**changes) -> None:
    options = SessionOptions(0, 1.0, 1000.0, changes.pop("ttl_s"))
    before = state(options=options, **changes)
    data = encode(before, RECALL)
    assert_same(decode(data, RECALL), before)
    assert model_of(data) == KEY


def test_a_memory_that_has_seen_nothing_has_no_arrays() -> None:
    before = state(states=())
    assert_same(decode(encode(before, RECALL), RECALL), before)


def test_a_cascade_is_of_its_horizon() -> None:
    frame = np.zeros((1, 2), np.float32)
    layers = tuple(np.zeros((n, 2), np.float32) for n in (6, 5))
    options = SessionOptions(5, 0.5, 1000.0, 60.0)
    before = state(inputs=(frame,), states=layers, options=options)
    assert_same(decode(encode(before, PENDULUM), PENDULUM), before)
    for wrong in (replace(before, states=()), replace(before, states=layers[::-1])):
        with pytest.raises(WrongShape):
            decode(encode(wrong, PENDULUM), PENDULUM)


def broken(change) -> bytes:
    tensors, metadata = wire.decode_safetensors(encode(state(), RECALL))
    change(tensors, metadata)
    return wire.encode_safetensors(tensors, metadata)


BROKEN = {
    "another kind": lambda t, m: m.update(kind="solve"),
    "a later format": lambda t, m: m.update(format=2),
    "no model": lambda t, m: m.pop("model"),
    "no time": lambda t, m: m.pop("t"),
    "a word for a time": lambda t, m: m.update(t="soon"),
    "a time that never comes": lambda t, m: m.update(t=float("inf")),
    "steps backwards": lambda t, m: m.update(steps=-1),
    "no options": lambda t, m: m.update(options=[]),
    "options left out": lambda t, m: m.update(options={}),
    "an input too few": lambda t, m: t.pop("inputs.u"),
    "a tensor too many": lambda t, m: t.update(more=np.zeros(1)),
    "another type": lambda t, m: t.update({"inputs.u": np.zeros((1, SIZE))}),
    "another rank": lambda t, m: t.update({"inputs.u": np.zeros(SIZE, np.float32)}),
    "sizes that disagree": lambda t, m: t.update({"states.h": np.zeros((8, 2), np.float32)}),
    "a history too long": lambda t, m: t.update({"inputs.u": np.zeros((7, SIZE), np.float32)}),
    "nan": lambda t, m: t.update({"states.h": np.full((SIZE, 2), np.nan, np.float32)}),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_wrong_with_a_snapshot_is_said(case) -> None:
    with pytest.raises(InvalidRequest) as raised:
        decode(broken(BROKEN[case]), RECALL)
    assert raised.value.detail


@given(st.binary(max_size=200))
def test_any_bytes_are_refused(data) -> None:
    with pytest.raises(InvalidRequest):
        decode(data, RECALL)


@given(
    st.dictionaries(
        st.sampled_from(["t", "steps", "options", "model", "blended"]),
        st.recursive(st.none() | st.text() | numbers | st.booleans(), st.lists, max_leaves=3),
    )
)
def test_any_metadata_are_read_or_refused(changes) -> None:
    data = broken(lambda t, m: m.update(changes))
    with contextlib.suppress(InvalidRequest):
        assert_same(decode(encode(decode(data, RECALL), RECALL), RECALL), decode(data, RECALL))

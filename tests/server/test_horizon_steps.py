"""How many steps to go, and after which of them frames are wanted: one table."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certisolve.manifest import Stepping
from certisolve_server import admission, horizon
from certisolve_server.errors import InvalidOption, OutOfRange
from certisolve_server.jobs import SolveRequest
from dataplanes import FIELD
from family_models import drift_manifest
from helpers import field_manifest

#: Steps of 0.1, answered at 0.1, 0.2 and 0.3 where nothing is named.
MODEL = drift_manifest()

WANTED = {
    "each of so many steps": ({"steps": 3}, (1, 2, 3)),
    "every second": ({"steps": 6, "save_every": 2}, (2, 4, 6)),
    "the last one too": ({"steps": 7, "save_every": 3}, (3, 6, 7)),
    "the last one alone": ({"steps": 7, "save_every": 100}, (7,)),
    "one": ({"steps": 1}, (1,)),
    "the manifest's": ({}, (1, 2, 3)),
    "times": ({"t": [0.2, 0.7]}, (2, 7)),
    "times and what lies between": ({"t": [0.2, 0.7], "save_every": 3}, (2, 3, 6, 7)),
    "the manifest's and others": ({"save_every": 2}, (1, 2, 3)),
    "what is left": ({"steps": 5, "resume_from": 3}, (4, 5)),
    "what is left of some": ({"steps": 7, "save_every": 3, "resume_from": 3}, (6, 7)),
    "what is left of times": ({"t": [0.2, 0.7], "resume_from": 2}, (7,)),
    "all that is left": ({"steps": 2, "resume_from": 0}, (1, 2)),
}


@pytest.mark.parametrize(("asked", "steps"), WANTED.values(), ids=WANTED)
def test_the_steps_whose_frames_are_wanted(asked, steps):
    wanted = horizon.wanted(asked.pop("t", None), MODEL, **asked)
    assert wanted.steps == steps
    assert wanted.t == tuple(round(step * 0.1, 9) for step in steps)


REFUSED = {
    "no step": ({"steps": 0}, InvalidOption, "steps"),
    "steps back": ({"steps": -1}, InvalidOption, "steps"),
    "too many steps": ({"steps": horizon.MAX_STEPS + 1}, OutOfRange, "steps"),
    "steps beyond all measure": ({"steps": 2**62}, OutOfRange, "steps"),
    "steps and times": ({"steps": 1, "t": [0.1]}, InvalidOption, "steps"),
    "every nothing": ({"steps": 3, "save_every": 0}, InvalidOption, "options.save_every"),
    "known before the beginning": ({"resume_from": -1}, InvalidOption, "options.resume_from"),
    "nothing left": ({"steps": 3, "resume_from": 3}, InvalidOption, "options.resume_from"),
    "less than nothing left": ({"resume_from": 2**62}, InvalidOption, "options.resume_from"),
}


@pytest.mark.parametrize(("asked", "error", "field"), REFUSED.values(), ids=REFUSED)
def test_what_makes_no_steps_is_refused_by_its_field(asked, error, field):
    with pytest.raises(error) as raised:
        horizon.wanted(asked.pop("t", None), MODEL, **asked)
    assert raised.value.field == field


@given(st.integers(1, horizon.MAX_STEPS), st.integers(1, 5000), st.integers(0, 4095))
def test_a_resumed_request_wants_the_rest_of_the_whole_one(steps, save_every, known):
    whole = horizon.wanted(None, MODEL, steps=steps, save_every=save_every)
    assert whole.steps[-1] == steps
    assert all(step % save_every == 0 for step in whole.steps[:-1])
    assert len(whole.steps) == -(-steps // save_every)
    if known >= steps:
        return
    rest = horizon.wanted(None, MODEL, steps=steps, save_every=save_every, resume_from=known)
    kept = [pair for pair in zip(whole.steps, whole.t, strict=True) if pair[0] > known]
    assert list(zip(rest.steps, rest.t, strict=True)) == kept


@given(st.integers(1, horizon.MAX_STEPS), st.sampled_from([0.1, 1e-3, 0.3, 2.0, 1 / 3, 1e-12]))
def test_times_of_steps_are_those_that_are_taken_for_them(steps, dt):
    manifest = drift_manifest(stepping=Stepping(dt=dt, max_steps=8), t=(dt,))
    counted = horizon.wanted(None, manifest, steps=steps, save_every=steps)
    assert horizon.wanted(counted.t, manifest) == counted


@pytest.mark.parametrize(
    ("option", "field"),
    [
        ("steps", "steps"),
        ("save_every", "options.save_every"),
        ("resume_from", "options.resume_from"),
    ],
)
def test_a_model_that_takes_no_steps_refuses_to_count_them(option, field):
    request = SolveRequest("double", None, {"u0": FIELD}, **{option: 1})
    with pytest.raises(InvalidOption, match="takes no steps of one size") as raised:
        admission.check(request, field_manifest("double"))
    assert raised.value.field == field


def test_requests_that_ask_for_other_frames_have_other_digests():
    asked = [{}, {"steps": 3}, {"save_every": 3}, {"resume_from": 3}, {"steps": 4}]
    requests = [SolveRequest("drift", None, {"w": FIELD}, **options) for options in asked]
    assert len({admission.digest(request) for request in requests}) == len(asked)


def test_who_counts_no_steps_has_the_digest_of_the_release_before():
    digest = admission.digest(SolveRequest("double", None, {"u0": FIELD}, t=(1.0,)))
    assert digest == "19182e7b41c215b3bd89244c52001085224a4b5a975510bbc315d8e8648e7ef0"


numbers = st.none() | st.integers(-(2**63), 2**63 - 1) | st.integers(-2, 10)


@given(
    st.none() | st.lists(st.floats() | st.sampled_from([0.1, 0.2, 0.3, 0.7]), max_size=4),
    numbers,
    numbers,
    numbers,
)
def test_whatever_is_asked_is_taken_or_refused(t, steps, save_every, resume_from):
    asked = {"steps": steps, "save_every": save_every, "resume_from": resume_from}
    try:
        wanted = horizon.wanted(t, MODEL, **asked)
    except (InvalidOption, OutOfRange):
        return
    assert list(wanted.steps) == sorted(set(wanted.steps))
    assert (resume_from or 0) < wanted.steps[0] <= wanted.steps[-1] <= horizon.MAX_STEPS
    assert len(wanted.t) == len(wanted.steps)

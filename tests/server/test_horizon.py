"""Times become numbers of steps, or are refused by their place in the list."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certisolve.manifest import Stepping
from certisolve_server import horizon
from certisolve_server.errors import InvalidOption, OutOfRange
from family_models import drift_manifest, resolution
from helpers import field_manifest

MODEL = drift_manifest()
ascending = st.sets(st.integers(1, horizon.MAX_STEPS), min_size=1, max_size=20).map(sorted)


@given(ascending, st.sampled_from([0.1, 1e-3, 0.3, 2.0, 1 / 3]))
def test_multiples_of_the_step_are_told_by_their_number(numbers, dt):
    manifest = drift_manifest(stepping=Stepping(dt=dt, max_steps=8), t=(dt,))
    t = [number * dt for number in numbers]
    assert horizon.check(t, manifest) == tuple(t)
    assert horizon.steps(t, manifest) == tuple(numbers)


def test_sums_of_decimal_fractions_are_multiples():
    assert horizon.steps(horizon.check([0.1 + 0.2, 0.7], MODEL), MODEL) == (3, 7)


REFUSED = {
    "none": ([], InvalidOption, "t"),
    "zero": ([0.0], OutOfRange, "t.0"),
    "negative": ([-0.1], OutOfRange, "t.0"),
    "less than a step": ([0.04], OutOfRange, "t.0"),
    "between steps": ([0.1, 0.25], OutOfRange, "t.1"),
    "barely off": ([0.1002], OutOfRange, "t.0"),
    "too far": ([0.1, 409.7], OutOfRange, "t.1"),
    "beyond all measure": ([1e308], OutOfRange, "t.0"),
    "infinite": ([math.inf], OutOfRange, "t.0"),
    "nan": ([math.nan], OutOfRange, "t.0"),
    "descending": ([0.3, 0.1], InvalidOption, "t.1"),
    "twice": ([0.1, 0.2, 0.2], InvalidOption, "t.2"),
    "the same step": ([0.1, 0.10001], InvalidOption, "t.1"),
}


@pytest.mark.parametrize(("t", "error", "field"), REFUSED.values(), ids=REFUSED)
def test_other_times_are_refused_by_their_place(t, error, field):
    with pytest.raises(error) as raised:
        horizon.check(t, MODEL)
    assert raised.value.field == field


@given(st.lists(st.floats(), max_size=5))
def test_any_list_is_taken_or_refused(t):
    try:
        steps = horizon.steps(horizon.check(t, MODEL), MODEL)
    except (InvalidOption, OutOfRange):
        return
    assert list(steps) == sorted(set(steps))
    assert 1 <= steps[0] <= steps[-1] <= horizon.MAX_STEPS


def test_the_last_step_that_is_run_is_one():
    [last] = horizon.steps(horizon.check([409.6], MODEL), MODEL)
    assert last == horizon.MAX_STEPS


def test_a_model_without_steps_takes_none():
    assert horizon.steps((1.0,), field_manifest("map")) == ()
    assert not horizon.exceeded((), field_manifest("map"))


@pytest.mark.parametrize(("steps", "beyond"), [((1, 8), False), ((9,), True), ((1, 400), True)])
def test_more_steps_than_were_validated_are_beyond_the_horizon(steps, beyond):
    assert horizon.exceeded(steps, MODEL) == beyond


@pytest.mark.parametrize(
    ("t", "error"),
    [([0.1], 0.01), ([0.2], 0.02), ([0.3], 0.02), ([0.1 + 0.2], 0.02), ([0.1, 0.4], 0.05)],
)
def test_the_error_is_that_of_the_next_time_at_which_it_was_measured(t, error):
    assert horizon.error(MODEL.resolutions[0], t, MODEL.stepping) == error


def test_an_error_after_the_last_measurement_is_unknown():
    [measured] = resolution(t=(0.1, 0.3), error_at_t=(0.01, 0.02))
    assert horizon.error(measured, [0.4], MODEL.stepping) is None


def test_a_step_after_the_last_of_very_many_is_another_step():
    [measured] = resolution(t=(400.0,), error_at_t=(0.5,))
    assert horizon.error(measured, [400.0], MODEL.stepping) == 0.5
    assert horizon.error(measured, [400.1], MODEL.stepping) is None


def test_without_measurements_by_time_the_mean_counts():
    [measured] = resolution()
    assert horizon.error(measured, [0.7], MODEL.stepping) == 0.01

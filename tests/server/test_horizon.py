"""Times become numbers of steps, or are refused by their place in the list."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certisolve.manifest import Stepping
from certisolve_server import horizon
from certisolve_server.errors import InvalidOption, OutOfRange
from certisolve_server.horizon import Wanted
from family_models import drift_manifest, resolution, rotation_manifest
from helpers import field_manifest

MODEL = drift_manifest()
ascending = st.sets(st.integers(1, horizon.MAX_STEPS), min_size=1, max_size=20).map(sorted)


@given(ascending, st.sampled_from([0.1, 1e-3, 0.3, 2.0, 1 / 3]))
def test_multiples_of_the_step_are_told_by_their_number(numbers, dt):
    manifest = drift_manifest(stepping=Stepping(dt=dt, max_steps=8), t=(dt,))
    t = [number * dt for number in numbers]
    assert horizon.wanted(t, manifest) == (tuple(t), tuple(numbers))


def test_sums_of_decimal_fractions_are_multiples():
    assert horizon.wanted([0.1 + 0.2, 0.7], MODEL).steps == (3, 7)


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
        horizon.wanted(t, MODEL)
    assert raised.value.field == field


@given(st.lists(st.floats(), max_size=5))
def test_any_list_is_taken_or_refused(t):
    try:
        steps = horizon.wanted(t, MODEL).steps
    except (InvalidOption, OutOfRange):
        return
    assert list(steps) == sorted(set(steps))
    assert 1 <= steps[0] <= steps[-1] <= horizon.MAX_STEPS


def test_the_last_step_that_is_run_is_one():
    [last] = horizon.wanted([409.6], MODEL).steps
    assert last == horizon.MAX_STEPS


def test_a_model_without_times_has_no_horizon():
    assert not horizon.exceeded(Wanted((1.0,)), field_manifest("map"))


@pytest.mark.parametrize(("steps", "beyond"), [((1, 8), False), ((9,), True), ((1, 400), True)])
def test_more_steps_than_were_validated_are_beyond_the_horizon(steps, beyond):
    assert horizon.exceeded(Wanted((), steps), MODEL) == beyond


@pytest.mark.parametrize(
    ("t", "error"),
    [([0.1], 0.01), ([0.2], 0.02), ([0.3], 0.02), ([0.1 + 0.2], 0.02), ([0.1, 0.4], 0.05)],
)
def test_the_error_is_that_of_the_next_time_at_which_it_was_measured(t, error):
    assert horizon.error(MODEL.resolutions[0], t, MODEL) == error


def test_an_error_after_the_last_measurement_is_unknown():
    [measured] = resolution(t=(0.1, 0.3), error_at_t=(0.01, 0.02))
    assert horizon.error(measured, [0.4], MODEL) is None


def test_a_step_after_the_last_of_very_many_is_another_step():
    [measured] = resolution(t=(400.0,), error_at_t=(0.5,))
    assert horizon.error(measured, [400.0], MODEL) == 0.5
    assert horizon.error(measured, [400.1], MODEL) is None


def test_without_measurements_by_time_the_mean_counts():
    [measured] = resolution()
    assert horizon.error(measured, [0.7], MODEL) == 0.01


# --- Integrations, which have no steps of one size ------------------------------------------------

TURNING = rotation_manifest()


@given(st.sets(st.floats(1e-300, 8.0), min_size=1, max_size=20).map(sorted))
def test_an_integration_answers_at_any_ascending_times(t):
    assert horizon.wanted(t, TURNING) == (tuple(t), ())


def test_without_times_an_integration_answers_at_those_of_the_manifest():
    assert horizon.wanted(None, TURNING) == (TURNING.t, ())


REFUSED_OF_AN_INTEGRATION = {
    "none": ([], InvalidOption, "t"),
    "too many": ([1e-3 * (i + 1) for i in range(horizon.MAX_TIMES + 1)], InvalidOption, "t"),
    "zero": ([0.0, 0.1], OutOfRange, "t.0"),
    "negative": ([-0.1], OutOfRange, "t.0"),
    "too far": ([0.1, 8.001], OutOfRange, "t.1"),
    "infinite": ([math.inf], OutOfRange, "t.0"),
    "nan": ([0.1, math.nan], OutOfRange, "t.1"),
    "descending": ([0.3, 0.1], InvalidOption, "t.1"),
    "twice": ([0.1, 0.2, 0.2], InvalidOption, "t.2"),
}


@pytest.mark.parametrize(
    ("t", "error", "field"), REFUSED_OF_AN_INTEGRATION.values(), ids=REFUSED_OF_AN_INTEGRATION
)
def test_other_times_of_an_integration_are_refused_by_their_place(t, error, field):
    with pytest.raises(error) as raised:
        horizon.wanted(t, TURNING)
    assert raised.value.field == field


@pytest.mark.parametrize(
    ("t", "beyond", "expected"),
    [
        ((0.25,), False, 0.01),
        ((0.5,), False, 0.01),
        ((0.1, 0.6), False, 0.05),
        ((2.0,), False, 0.05),
        ((0.1, 2.0001), True, None),
        ((8.0,), True, None),
    ],
)
def test_an_integration_beyond_its_horizon_has_no_known_error(t, beyond, expected):
    wanted = horizon.wanted(t, TURNING)
    assert horizon.exceeded(wanted, TURNING) == beyond
    assert horizon.error(TURNING.resolutions[0], wanted.t, TURNING) == expected

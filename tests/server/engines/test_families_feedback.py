"""The cascade along its diagonals is the cascade one measurement and one layer after the other."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from certisolve.manifest import Axis, Feedback, Stepping
from certisolve_server.engines.stepping import finish
from certisolve_server.jobs import Work
from certisolve_zoo.ode.cascade import forecast_window
from family_models import DT, PENDULUM, Direct, cascade, engine_of, pendulum, pendulum_manifest

RNG = np.random.default_rng(1)
#: Sums of float64 in the same order: what is left is the rounding of exp.
ROUNDING = {"rtol": 1e-13, "atol": 1e-13}


def measured(length, dtype=np.float64):
    return RNG.uniform(-2, 2, (length, 2)).astype(dtype)


def launch(measurements, steps, manifest=None, field=pendulum):
    engine = engine_of(manifest or pendulum_manifest(), field)
    asked = zip(measurements, steps, strict=True)
    ended = finish(engine, [engine.job([each], Work(steps=wanted)) for each, wanted in asked])
    assert [each.error for each in ended] == [None] * len(ended)
    return ended


@given(st.integers(1, 9), st.integers(1, 12), st.integers(1, 3))
def test_the_forecast_is_that_of_the_sequential_cascade(length, num_layers, batch_size):
    measurements = [measured(length) for _ in range(batch_size)]
    steps = tuple(range(1, num_layers + 1))
    ended = launch(measurements, [steps] * batch_size)
    expected = cascade(torch.from_numpy(np.stack(measurements)), num_layers).numpy()
    for each, frames in zip(ended, expected, strict=True):
        np.testing.assert_allclose(each.outputs[0], frames, **ROUNDING)
        assert each.findings["nfe"] == num_layers * length + num_layers - 1


@pytest.mark.parametrize(("length", "num_layers"), [(1, 5), (7, 3), (3, 7)])
def test_the_forecast_is_that_of_the_training_package(length, num_layers):
    measurements = measured(length)
    expected = forecast_window(
        pendulum,
        torch.from_numpy(measurements)[None],
        num_layers,
        dt=DT,
        decay=PENDULUM.decay,
    )
    [ended] = launch([measurements], [tuple(range(1, num_layers + 1))])
    np.testing.assert_allclose(ended.outputs[0], expected[0].numpy(), **ROUNDING)


def test_a_single_measurement_is_forecast_by_the_vector_field_alone():
    [x] = measurement = measured(1)
    expected = []
    for _ in range(5):
        x = x + DT * np.array([x[1], -np.sin(x[0])])
        expected.append(x)
    [ended] = launch([measurement], [(1, 2, 3, 4, 5)])
    np.testing.assert_allclose(ended.outputs[0], expected, **ROUNDING)


def test_further_horizons_of_batch_mates_change_nothing():
    measurements, steps = [measured(6) for _ in range(3)], [(1,), (2, 8), (5,)]
    together = launch(measurements, steps)
    for row in range(3):
        [alone] = launch([measurements[row]], [steps[row]])
        np.testing.assert_allclose(together[row].outputs[0], alone.outputs[0], **ROUNDING)
        assert together[row].findings == alone.findings


def test_a_request_that_diverges_leaves_its_batch_mates_alone():
    measurements = [measured(4), np.full((4, 2), np.inf), measured(4)]
    together = launch(measurements, [(1, 2, 3)] * 3)
    assert [each.ending for each in together] == [None, "diverged", None]
    assert together[1].outputs[0].shape == (0, 2)
    for row in (0, 2):
        [alone] = launch([measurements[row]], [(1, 2, 3)])
        np.testing.assert_allclose(together[row].outputs[0], alone.outputs[0], **ROUNDING)


def test_measurements_and_layers_take_as_many_passes_as_there_are_diagonals():
    program = Direct(pendulum)
    engine = engine_of(pendulum_manifest(), program)
    finish(engine, [engine.job([measured(9)], Work(steps=(1, 5)))])
    open_loop, diagonals = 5 - 1, 9 + 5 - 1
    assert program.calls == open_loop + diagonals


@pytest.mark.parametrize("last", [1, 3, 8])
def test_the_noise_gain_is_the_product_over_the_layers(last):
    [ended] = launch([measured(2)], [(last,)])
    factors = (1 + DT * PENDULUM.eigenvalue * math.exp(-PENDULUM.decay * i) for i in range(last))
    assert ended.findings["noise_gain"] == pytest.approx(math.prod(factors))


def test_a_noise_gain_beyond_all_measure_is_still_a_number():
    manifest = pendulum_manifest(
        feedback=Feedback(decay=0.0, eigenvalue=1e6), stepping=Stepping(dt=DT, max_steps=4096)
    )
    [ended] = launch([measured(1)], [(4096,)], manifest)
    assert 1e300 < ended.findings["noise_gain"] < math.inf


def test_noise_of_the_last_measurement_grows_by_no_more_than_the_gain():
    measurements, noise = measured(9), 1e-6 * RNG.uniform(-1, 1, 2)
    noisy = measurements.copy()
    noisy[-1] += noise

    def at_rest(x, observer, gain):
        return PENDULUM.eigenvalue * gain[:, None] * (x - observer)

    steps = tuple(range(1, 9))
    [quiet, loud] = launch([measurements, noisy], [steps] * 2, field=at_rest)
    grown = np.abs(loud.outputs[0] - quiet.outputs[0])[-1]
    # Without dynamics the last layer has exactly the gain; 1e-6 is far above the roundings.
    np.testing.assert_allclose(grown, loud.findings["noise_gain"] * np.abs(noise), rtol=1e-6)


def test_states_of_float32_stay_float32():
    [ended] = launch([measured(3, np.float32)], [(1, 2)])
    assert ended.outputs[0].dtype == np.float32


def test_a_longer_state_keeps_its_components_apart():
    manifest = pendulum_manifest(
        axes={**pendulum_manifest().axes, "state": Axis(kind="channel", size=3)}
    )
    rates = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)

    def field(x, observer, gain):
        del observer, gain
        return rates.expand_as(x)

    [ended] = launch([np.zeros((2, 3))], [(4,)], manifest, field)
    np.testing.assert_allclose(ended.outputs[0], [4 * DT * rates.numpy()], **ROUNDING)


# --- Measurements of a session --------------------------------------------------------------------


def observe(measurement, interval, states=(), num_layers=6, gain=1.0, field=pendulum):
    """A measurement of a session, and where that leads."""
    engine = engine_of(pendulum_manifest(), field)
    work = Work(steps=(num_layers,), interval=interval, gain=gain, keeps_states=True)
    [ended] = finish(engine, [replace(engine.job([measurement], work), states=states)])
    return ended


def test_the_first_measurement_opens_layers_and_observers_without_correction():
    [x] = measurement = measured(1)
    layers = [x]
    for _ in range(6):
        x = x + DT * np.array([x[1], -np.sin(x[0])])
        layers.append(x)
    ended = observe(measurement, 0.0)
    np.testing.assert_allclose(ended.states[0], layers, **ROUNDING)
    np.testing.assert_allclose(ended.states[1], layers[:-1], **ROUNDING)
    np.testing.assert_array_equal(ended.outputs[0], ended.states[0][-1:])
    assert ended.findings["nfe"] == 6


@given(st.floats(0.0, 2.0), st.floats(0.1, 1.0))
def test_a_further_measurement_moves_the_observers_and_then_runs_through_the_layers(interval, gain):
    states = measured(7), measured(6)
    measurement = measured(1)
    ended = observe(measurement, interval, states, gain=gain)
    observers, layers = [], [measurement[0]]
    for i in range(6):
        g = gain * math.exp(-PENDULUM.decay * i)
        rate = PENDULUM.eigenvalue * g * interval
        exact = g * -math.expm1(-rate) / rate if rate else g
        observers.append(states[1][i] + interval * derivative(states[0][i], states[1][i], exact))
        layers.append(layers[i] + DT * derivative(layers[i], observers[i], g))
    np.testing.assert_allclose(ended.states[0], layers, **ROUNDING)
    np.testing.assert_allclose(ended.states[1], observers, **ROUNDING)
    assert ended.findings["nfe"] == 2 * 6


def derivative(x, observer, gain):
    tensors = torch.from_numpy(x)[None], torch.from_numpy(observer)[None]
    return pendulum(*tensors, torch.tensor([gain], dtype=torch.float64))[0].numpy()


@pytest.mark.parametrize("interval", [0.01, 0.3, 40.0])
def test_errors_of_observers_decay_with_the_exact_rate_however_long_the_interval(interval):
    def at_rest(x, observer, gain):
        return PENDULUM.eigenvalue * gain[:, None] * (x - observer)

    states = np.zeros((7, 2)), np.ones((6, 2))
    ended = observe(np.zeros((1, 2)), interval, states, gain=0.5, field=at_rest)
    rates = 0.5 * PENDULUM.eigenvalue * np.exp(-PENDULUM.decay * np.arange(6))
    # Errors that have decayed below the rounding of 1 are told as 0.
    expected = np.exp(-rates * interval)
    np.testing.assert_allclose(ended.states[1], expected[:, None] * np.ones(2), atol=1e-15)


def test_measurements_of_many_sessions_and_forecasts_share_their_passes():
    program = Direct(pendulum)
    engine = engine_of(pendulum_manifest(), program)
    keeps = {"keeps_states": True}
    jobs = [
        engine.job([measured(1)], Work(steps=(6,), interval=0.0, **keeps)),
        engine.job([measured(1)], Work(steps=(2,), interval=0.0, **keeps)),
        replace(
            engine.job([measured(1)], Work(steps=(4,), interval=0.2, **keeps)),
            states=(measured(5), measured(4)),
        ),
        engine.job([measured(1)], Work(steps=(1, 3))),
    ]
    alone = [finish(engine, [job])[0] for job in jobs]
    calls, program.calls = program.calls, 0
    for together, expected in zip(finish(engine, jobs), alone, strict=True):
        np.testing.assert_allclose(together.outputs[0], expected.outputs[0], **ROUNDING)
        for actual, state in zip(together.states, expected.states, strict=True):
            np.testing.assert_allclose(actual, state, **ROUNDING)
        assert together.findings == expected.findings
    assert program.calls == 6
    assert calls == 6 + 2 + 5 + 5


@pytest.mark.parametrize("states", [(), (np.zeros((6, 2)), np.zeros((6, 2)))])
def test_a_session_that_goes_on_without_its_own_state_is_refused(states):
    ended = observe(measured(1), 0.1, states)
    assert isinstance(ended.error, ValueError)


def test_measurements_of_a_session_lead_where_a_forecast_of_all_of_them_leads():
    # With a gain of 0 the corrections of both vanish: what is left is the vector field alone.
    measurements, states = measured(4), ()
    for number, measurement in enumerate(measurements):
        ended = observe(measurement[None], DT if number else 0.0, states, gain=0.0)
        states = ended.states
    engine = engine_of(pendulum_manifest(), pendulum)
    [expected] = finish(engine, [engine.job([measurements], Work(steps=(6,), gain=0.0))])
    np.testing.assert_allclose(ended.outputs[0], expected.outputs[0], **ROUNDING)

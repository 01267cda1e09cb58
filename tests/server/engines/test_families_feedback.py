"""The cascade along its diagonals is the cascade one measurement and one layer after the other."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from certisolve.manifest import Axis, Feedback, Stepping
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
    return engine.launch([measurements], [Work(steps=each) for each in steps]).wait()


@given(st.integers(1, 9), st.integers(1, 12), st.integers(1, 3))
def test_the_forecast_is_that_of_the_sequential_cascade(length, num_layers, batch_size):
    measurements = [measured(length) for _ in range(batch_size)]
    steps = tuple(range(1, num_layers + 1))
    step = launch(measurements, [steps] * batch_size)
    expected = cascade(torch.from_numpy(np.stack(measurements)), num_layers).numpy()
    for row in range(batch_size):
        np.testing.assert_allclose(step.row(row)[0], expected[row], **ROUNDING)
        assert step.findings["nfe"][row] == num_layers * length + num_layers - 1


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
    step = launch([measurements], [tuple(range(1, num_layers + 1))])
    np.testing.assert_allclose(step.row(0)[0], expected[0].numpy(), **ROUNDING)


def test_a_single_measurement_is_forecast_by_the_vector_field_alone():
    [x] = measurement = measured(1)
    expected = []
    for _ in range(5):
        x = x + DT * np.array([x[1], -np.sin(x[0])])
        expected.append(x)
    step = launch([measurement], [(1, 2, 3, 4, 5)])
    np.testing.assert_allclose(step.row(0)[0], expected, **ROUNDING)


def test_further_horizons_of_batch_mates_change_nothing():
    measurements, steps = [measured(6) for _ in range(3)], [(1,), (2, 8), (5,)]
    together = launch(measurements, steps)
    for row in range(3):
        alone = launch([measurements[row]], [steps[row]])
        np.testing.assert_allclose(together.row(row)[0], alone.row(0)[0], **ROUNDING)
        for name in ("nfe", "noise_gain"):
            assert together.findings[name][row] == alone.findings[name][0]


def test_a_request_that_diverges_leaves_its_batch_mates_alone():
    measurements = [measured(4), np.full((4, 2), np.inf), measured(4)]
    together = launch(measurements, [(1, 2, 3)] * 3)
    assert together.finite == [True, False, True]
    for row in (0, 2):
        alone = launch([measurements[row]], [(1, 2, 3)])
        np.testing.assert_allclose(together.row(row)[0], alone.row(0)[0], **ROUNDING)


def test_measurements_and_layers_take_as_many_passes_as_there_are_diagonals():
    program = Direct(pendulum)
    engine = engine_of(pendulum_manifest(), program)
    engine.launch([[measured(9)]], [Work(steps=(1, 5))]).wait()
    open_loop, diagonals = 5 - 1, 9 + 5 - 1
    assert program.calls == open_loop + diagonals


@pytest.mark.parametrize("last", [1, 3, 8])
def test_the_noise_gain_is_the_product_over_the_layers(last):
    step = launch([measured(2)], [(last,)])
    factors = (1 + DT * PENDULUM.eigenvalue * math.exp(-PENDULUM.decay * i) for i in range(last))
    assert step.findings["noise_gain"][0] == pytest.approx(math.prod(factors))


def test_a_noise_gain_beyond_all_measure_is_still_a_number():
    manifest = pendulum_manifest(
        feedback=Feedback(decay=0.0, eigenvalue=1e6), stepping=Stepping(dt=DT, max_steps=4096)
    )
    step = launch([measured(1)], [(4096,)], manifest)
    assert 1e300 < step.findings["noise_gain"][0] < math.inf


def test_noise_of_the_last_measurement_grows_by_no_more_than_the_gain():
    measurements, noise = measured(9), 1e-6 * RNG.uniform(-1, 1, 2)
    noisy = measurements.copy()
    noisy[-1] += noise

    def at_rest(x, observer, gain):
        return PENDULUM.eigenvalue * gain[:, None] * (x - observer)

    steps = tuple(range(1, 9))
    quiet, loud = (launch([each], [steps], field=at_rest) for each in (measurements, noisy))
    grown = np.abs(loud.row(0)[0] - quiet.row(0)[0])[-1]
    # Without dynamics the last layer has exactly the gain; 1e-6 is far above the roundings.
    np.testing.assert_allclose(grown, loud.findings["noise_gain"][0] * np.abs(noise), rtol=1e-6)


def test_states_of_float32_stay_float32():
    step = launch([measured(3, np.float32)], [(1, 2)])
    assert step.outputs[0].dtype == np.float32


def test_a_longer_state_keeps_its_components_apart():
    manifest = pendulum_manifest(
        axes={**pendulum_manifest().axes, "state": Axis(kind="channel", size=3)}
    )
    rates = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)

    def field(x, observer, gain):
        del observer, gain
        return rates.expand_as(x)

    step = launch([np.zeros((2, 3))], [(4,)], manifest, field)
    np.testing.assert_allclose(step.row(0)[0], [4 * DT * rates.numpy()], **ROUNDING)

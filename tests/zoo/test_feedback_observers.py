"""Classical observers: each is exact on the class of systems that it assumes."""

import numpy as np
import pytest

from certisolve_zoo.ode.observers import (
    affine_forecast,
    kalman_forecast,
    luenberger_forecast,
    open_loop_forecast,
    runge_kutta4,
)
from certisolve_zoo.pdes.spiral import DISTURBED, NOMINAL, Spiral, solve_spiral
from certisolve_zoo.specs import (
    projectile_feedback,
    projectile_observers,
    spiral_feedback,
    spiral_observers,
)

DT, NUM_STEPS = 0.01, 50


def _window(spiral, num_measurements, num_samples=4):
    y0 = np.random.default_rng(0).uniform(-9, 9, (num_samples, 2))
    states = solve_spiral(spiral, y0, DT * np.arange(num_measurements + NUM_STEPS))
    return states[:, :num_measurements], states[:, num_measurements:]


def test_the_open_loop_continues_the_nominal_system():
    measured, truth = _window(NOMINAL, 3)
    forecast = open_loop_forecast(NOMINAL.vector_field, measured[:, -1], NUM_STEPS, DT)
    np.testing.assert_allclose(forecast, truth, atol=1e-7)


def test_one_step_has_the_local_order_of_the_classical_method():
    measured, _ = _window(DISTURBED, 1)
    errors = [
        np.abs(
            runge_kutta4(DISTURBED.vector_field, measured[:, 0], dt)
            - solve_spiral(DISTURBED, measured[:, 0], np.array([dt]))[:, 0]
        ).max()
        for dt in (0.2, 0.1)
    ]
    assert np.log2(errors[0] / errors[1]) == pytest.approx(5.0, abs=0.3)


def test_a_luenberger_observer_finds_a_constant_disturbance():
    measured, truth = _window(Spiral(NOMINAL.decay, NOMINAL.rate, bias=7.0), 150)
    forecast = luenberger_forecast(NOMINAL.vector_field, measured, NUM_STEPS, dt=DT, rate=20.0)
    # exp(-20 * 1.5) of the first error is left, and fourth-order steps.
    np.testing.assert_allclose(forecast, truth, atol=1e-6)


def test_a_kalman_filter_finds_the_parameters_of_a_spiral():
    def joint_field(joint):
        x1, x2, decay, rate, bias = joint.T
        still = np.zeros_like(x1)
        return np.stack(
            [-decay * x1 - rate * x2 + bias, rate * x1 - decay * x2 + bias, *[still] * 3], 1
        )

    measured, truth = _window(DISTURBED, 100)
    forecast = kalman_forecast(
        joint_field,
        measured,
        NUM_STEPS,
        dt=DT,
        parameters=np.array([0.1, 2.0, 0.0]),
        spread=np.array([0.1, 1.0, 10.0]),
        drift=np.zeros(3),
        noise=np.full(2, 1e-3),
    )
    # Its linearisation around the nominal parameters leaves some thousandths of the state.
    assert np.abs(forecast - truth).max() < 0.1


def test_an_affine_map_continues_a_linear_system_exactly():
    measured, truth = _window(DISTURBED, 20)
    np.testing.assert_allclose(affine_forecast(measured, NUM_STEPS), truth, atol=1e-6)


@pytest.mark.parametrize(
    ("module", "solvers", "state"),
    [
        (spiral_feedback, spiral_observers.solvers(), slice(None)),
        (projectile_feedback, projectile_observers.SOLVERS, slice(3)),
    ],
    ids=["spiral", "projectile"],
)
def test_the_ladder_climbs_from_the_open_loop(module, solvers, state):
    samples = module.windows(5, 32)
    measured, truth = samples.inputs[0].numpy(), samples.target.numpy()
    errors = []
    for solver in solvers:
        forecast = solver.solve(measured)
        assert forecast.shape == truth.shape
        errors.append(np.linalg.norm((forecast - truth)[:, -1, state], axis=-1).mean())
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.2 * errors[0]

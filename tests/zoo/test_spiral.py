import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from certisolve_zoo.pdes.spiral import (
    DISTURBED,
    NOMINAL,
    NUM_CASES,
    START,
    Spiral,
    solve_spiral,
    training_case,
)

PERIOD = 0.01


@given(
    st.floats(0.01, 0.5), st.floats(0.1, 4), st.floats(-25, 25), st.floats(-9, 9), st.floats(-9, 9)
)
def test_the_solution_obeys_its_equation(decay, rate, bias, x1, x2):
    spiral = Spiral(decay, rate, bias)
    t, step = 1.3, 1e-4
    before, here, after = solve_spiral(
        spiral, np.array([[x1, x2]]), np.array([t - step, t, t + step])
    )[0]
    derivative = (after - before) / (2 * step)
    # Central differences: their own error is step²/6 times a third derivative of at most 1e4.
    np.testing.assert_allclose(derivative, spiral.vector_field(here), atol=1e-4)


@given(st.floats(-9, 9), st.floats(-9, 9), st.floats(0, 5), st.floats(0, 5))
def test_two_stretches_equal_one(x1, x2, first, second):
    y0 = np.array([[x1, x2]])
    halfway = solve_spiral(DISTURBED, y0, np.array([first]))[:, 0]
    twice = solve_spiral(DISTURBED, halfway, np.array([second]))
    once = solve_spiral(DISTURBED, y0, np.array([first + second]))
    np.testing.assert_allclose(twice, once, atol=1e-12)


def test_an_integrator_agrees():
    t = np.linspace(0, 20, 50)
    solved = solve_ivp(
        lambda _, y: DISTURBED.vector_field(y), (0, 20), START, "DOP853", t, rtol=1e-11, atol=1e-11
    )
    ours = solve_spiral(DISTURBED, np.array([START]), t)[0]
    np.testing.assert_allclose(ours, solved.y.T, atol=1e-8)


def test_without_bias_the_radius_decays():
    t = np.linspace(0, 20, 100)
    radius = np.linalg.norm(solve_spiral(NOMINAL, np.array([START]), t)[0], axis=1)
    np.testing.assert_allclose(radius, 9 * np.exp(-0.1 * t), rtol=1e-12)


@pytest.mark.parametrize(("num_steps", "expected"), [(10, 1.105), (50, 5.244)])
def test_the_nominal_system_mispredicts_the_disturbed_one_by_the_known_amount(num_steps, expected):
    """Mean error of Euler's method from t = 2 on, as known for this pair of systems."""
    t = PERIOD * np.arange(2001)
    truth = solve_spiral(DISTURBED, np.array([START]), t)[0]
    predicted = truth
    for _ in range(num_steps):
        predicted = predicted + PERIOD * NOMINAL.vector_field(predicted)
    errors = np.linalg.norm(predicted[:-num_steps] - truth[num_steps:], axis=1)
    assert errors[200:].mean() == pytest.approx(expected, rel=0.005)


def test_the_training_cases_surround_the_disturbed_system():
    cases = [training_case(index) for index in range(NUM_CASES)]
    for name in ("decay", "rate", "bias"):
        values = [getattr(case, name) for case in cases]
        assert min(values) <= getattr(DISTURBED, name) <= max(values)
    with pytest.raises(ValueError, match="there are 20"):
        training_case(20)

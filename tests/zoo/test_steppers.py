import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from certisolve_zoo.steppers import (
    AbstractStepper,
    Diagonal,
    ExponentialRK4,
    IntegratingFactorRK4,
    Semilinear,
    Tridiagonal,
    all_steppers,
    divide,
    rollout,
)

RATES = np.array([-1.0, -0.2, 0.5])
END = 2.0

steppers = pytest.mark.parametrize("stepper", all_steppers, ids=lambda cls: cls.__name__)


def _logistic(rates=RATES):
    """Logistic growth u' = a u - u², entry by entry."""
    return Semilinear(Diagonal(rates), lambda u: -(u**2), lambda u: -2 * u)


def _logistic_solution(u0, t):
    growth = np.exp(RATES * t)
    return u0 * growth / (1 + u0 * (growth - 1) / RATES)


def _advanced(stepper, problem, u0, num_steps):
    return rollout(stepper(problem, END / num_steps), u0, 1, num_steps)[:, 0]


def test_every_stepper_is_in_the_list():
    assert set(all_steppers) == set(AbstractStepper.__subclasses__())


@steppers
def test_the_observed_order_is_the_stated_one(stepper):
    u0 = np.array([[0.4, 0.7, 0.2], [0.1, 0.5, 0.9]])
    exact = _logistic_solution(u0, END)
    counts = np.array([16, 32, 64])
    errors = [np.abs(_advanced(stepper, _logistic(), u0, n) - exact).max() for n in counts]
    np.testing.assert_allclose(np.log2(np.divide(errors[:-1], errors[1:])), stepper.order, atol=0.3)


@steppers
def test_complex_rates_are_allowed(stepper):
    problem = Semilinear(Diagonal(np.array([2j, -0.1 + 1j])), np.zeros_like, np.zeros_like)
    u0 = np.array([[1.0 + 0.5j, -0.3j]])
    exact = u0 * np.exp(END * problem.linear.eigenvalues)
    np.testing.assert_allclose(_advanced(stepper, problem, u0, 1000), exact, atol=1e-5)


@steppers
def test_the_given_state_is_left_alone(stepper):
    u0 = np.full((2, 3), 0.3)
    stepper(_logistic(), 0.1).step(u0)
    np.testing.assert_array_equal(u0, 0.3)


@steppers
def test_a_sample_alone_equals_itself_in_a_batch(stepper):
    u0 = np.random.default_rng(0).uniform(0, 1, (5, 3))
    together = _advanced(stepper, _logistic(), u0, 20)
    # Newton's method stops for all samples at once, with updates below 1e-12.
    np.testing.assert_allclose(
        together[3:4], _advanced(stepper, _logistic(), u0[3:4], 20), atol=1e-12
    )


@pytest.mark.parametrize("stepper", [ExponentialRK4, IntegratingFactorRK4])
@given(rate=st.floats(-1e6, 2), dt=st.floats(1e-6, 1))
def test_exponential_steps_are_exact_without_a_nonlinear_term(stepper, rate, dt):
    problem = Semilinear(Diagonal(np.array([rate])), np.zeros_like)
    stepped = stepper(problem, dt).step(np.ones((1, 1)))
    np.testing.assert_allclose(stepped, np.exp(rate * dt), rtol=1e-13, atol=1e-300)


@given(rate=st.floats(-1e6, 2).filter(lambda rate: abs(rate) > 1e-3), dt=st.floats(1e-6, 1))
def test_exponential_differencing_is_exact_for_a_constant_term(rate, dt):
    problem = Semilinear(Diagonal(np.array([rate])), np.ones_like)
    stepped = ExponentialRK4(problem, dt).step(np.zeros((1, 1)))
    np.testing.assert_allclose(stepped, np.expm1(rate * dt) / rate, rtol=1e-12)


def _bands(rng, num_points):
    left, centre, right = rng.standard_normal((3, num_points))
    return Tridiagonal(left, centre - 4, right)


def _dense(operator):
    return (
        np.diag(operator.centre) + np.diag(operator.left[1:], -1) + np.diag(operator.right[:-1], 1)
    )


@given(st.integers(0, 2**31), st.integers(1, 4), st.integers(2, 9))
def test_tridiagonal_terms_equal_their_matrix(seed, num_samples, num_points):
    rng = np.random.default_rng(seed)
    operator, u = _bands(rng, num_points), rng.standard_normal((num_samples, num_points))
    np.testing.assert_allclose(operator.apply(u), u @ _dense(operator).T, atol=1e-12)
    diagonal = rng.uniform(1, 2, u.shape)
    solved = operator.solve_shifted(diagonal, 0.3, u)
    np.testing.assert_allclose(diagonal * solved - 0.3 * operator.apply(solved), u, atol=1e-9)


def test_a_singular_step_is_refused():
    identity = Tridiagonal(np.zeros(3), np.ones(3), np.zeros(3))
    with pytest.raises(np.linalg.LinAlgError, match="halve dt"):
        identity.solve_shifted(np.ones((1, 3)), 1.0, np.ones((1, 3)))


@given(st.integers(1, 1000), st.floats(1e-3, 10))
def test_intervals_are_divided_evenly(num_steps, interval):
    assert divide(interval, interval / num_steps) == (
        num_steps,
        pytest.approx(interval / num_steps),
    )
    steps, dt = divide(interval, 0.9999 * interval / num_steps)
    assert steps == num_steps + 1
    assert dt * steps == pytest.approx(interval)


@pytest.mark.parametrize(("interval", "dt"), [(0.0, 0.1), (1.0, 0.0), (1.0, -1.0), (np.nan, 1.0)])
def test_steps_of_no_length_are_refused(interval, dt):
    with pytest.raises(ValueError, match="positive"):
        divide(interval, dt)


def test_snapshots_are_evenly_spaced_states():
    u0 = np.array([[0.3, 0.2, 0.1]])
    stepper = ExponentialRK4(_logistic(), 0.05)
    snapshots = rollout(stepper, u0, 4, 5)
    assert snapshots.shape == (1, 4, 3)
    for index, t in enumerate([0.25, 0.5, 0.75, 1.0]):
        np.testing.assert_allclose(snapshots[:, index], _logistic_solution(u0, t), atol=1e-7)


def test_solutions_that_blow_up_are_refused():
    problem = Semilinear(Diagonal(np.zeros(1)), lambda u: u**2)
    with pytest.raises(FloatingPointError, match="shorten dt"):
        rollout(IntegratingFactorRK4(problem, 0.1), np.ones((1, 1)), 1, 100)


def test_implicit_steps_need_a_slope():
    problem = Semilinear(Diagonal(RATES), np.zeros_like)
    with pytest.raises(ValueError, match="slope"):
        all_steppers[0](problem, 0.1)


def test_newton_that_does_not_converge_is_refused():
    # 1 + u² has no equilibrium: the implicit step of this length has no solution.
    problem = Semilinear(Diagonal(np.zeros(1)), lambda u: 1 + u**2, lambda u: 2 * u)
    with pytest.raises(FloatingPointError, match="Newton"):
        all_steppers[0](problem, 4.0).step(np.ones((1, 1)))

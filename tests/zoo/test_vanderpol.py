import numpy as np
import pytest

from certisolve_zoo.pdes.vanderpol import slopes, solve_vanderpol

T = np.linspace(0.5, 20.0, 40)
MU = np.array([0.5, 3.0, 20.0, 50.0])
Y0 = np.array([[2.5, 2.5], [-0.3, 1.2], [1.5, -2.5], [-2.0, 0.1]])


def rmse(states, expected):
    return np.sqrt(np.mean((states - expected) ** 2))


@pytest.fixture(scope="module")
def reference():
    return solve_vanderpol(Y0, MU, T, rtol=1e-10)


@pytest.mark.parametrize("method", ["RK45", "DOP853", "BDF", "LSODA"])
def test_other_methods_reach_the_same_states(method, reference):
    assert rmse(solve_vanderpol(Y0, MU, T, method=method, rtol=1e-9), reference) < 1e-5


def test_the_reference_is_far_more_exact_than_what_is_measured_with_it(reference):
    assert rmse(solve_vanderpol(Y0, MU, T), reference) < 1e-6


def test_the_slopes_are_those_of_the_trajectory():
    step = 1e-4
    around = solve_vanderpol(Y0, MU, np.array([1.0 - step, 1.0, 1.0 + step]), rtol=1e-12)
    central = (around[:, 2] - around[:, 0]) / (2 * step)
    # Of slopes up to 100; central differences are off by step²/6 third derivatives.
    np.testing.assert_allclose(slopes(around[:, 1], MU), central, rtol=1e-4, atol=1e-5)


def test_a_stiff_orbit_has_the_period_of_lienard():
    """(3 - 2 ln 2) μ + 7.014 μ^(-1/3), the first two terms for large μ."""
    mu = 50.0
    t = np.linspace(0.0, 200.0, 20_001)
    x = solve_vanderpol(np.array([[2.0, 0.0]]), np.array([mu]), t[1:])[0, :, 0]
    upwards = t[1:-1][(x[:-1] < 0) & (x[1:] >= 0)]
    period = (3 - 2 * np.log(2)) * mu + 7.014 * mu ** (-1 / 3)
    assert np.diff(upwards).mean() == pytest.approx(period, rel=0.005)


def test_all_states_stay_where_the_page_says():
    rng = np.random.default_rng(0)
    y0, mu = rng.uniform(-2.5, 2.5, (200, 2)), np.geomspace(0.5, 50, 200)
    states = solve_vanderpol(y0, mu, T, method="LSODA", rtol=1e-5)
    assert np.abs(states[..., 0]).max() <= 2.5
    assert np.abs(states[..., 1]).max() <= 5.5


def test_a_method_that_gives_up_is_told():
    # Without damping but with its opposite, a state beyond the cycle runs away in no time.
    with pytest.raises(RuntimeError, match="Radau, mu = -5"):
        solve_vanderpol(np.array([[2.5, 0.0]]), np.array([-5.0]), T)

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certisolve_zoo.pdes.diffusion_reaction import Boundary, solve_diffusion_reaction
from certisolve_zoo.pdes.random_fields import squared_exponential_grf

both_boundaries = pytest.mark.parametrize("boundary", Boundary, ids=lambda b: b.name.lower())


def _solved(initial_condition, source=None, *, t=1.0, dt=0.01, **keywords):
    source = np.zeros_like(initial_condition) if source is None else source
    return solve_diffusion_reaction(
        initial_condition, source, num_snapshots=1, interval=t, dt=dt, **keywords
    )[:, 0]


def _nodes(num_points):
    return np.linspace(0, 1, num_points)[None]


def test_a_sine_decays_as_the_discrete_laplacian_says():
    x, diffusivity, t = _nodes(33), 0.1, 1.0
    eigenvalue = -diffusivity * (2 * 32 * np.sin(np.pi / 64)) ** 2
    # The trapezoidal rule's own factor per step.
    factor = ((1 + 0.005 * eigenvalue) / (1 - 0.005 * eigenvalue)) ** 100
    solved = _solved(np.sin(np.pi * x), diffusivity=diffusivity, rate=0.0, t=t)
    np.testing.assert_allclose(solved, factor * np.sin(np.pi * x), atol=1e-12)
    assert factor == pytest.approx(np.exp(-diffusivity * np.pi**2 * t), rel=1e-3)


def test_uniform_states_between_closed_ends_react_as_the_ordinary_equation_says():
    u0 = np.full((2, 9), 1.0) * [[0.5], [-0.3]]
    solved = _solved(u0, rate=1.0, t=1.5, dt=0.001, boundary=Boundary.CLOSED)
    np.testing.assert_allclose(solved, u0 / (1 - 1.5 * u0), rtol=2e-6)


def _steady_error(num_points):
    """U = sin 2πx stays, with f = 4π²D u - k u²."""
    x = _nodes(num_points)
    u = np.sin(2 * np.pi * x)
    source = 0.1 * 4 * np.pi**2 * u - 0.5 * u**2
    return np.abs(_solved(u, source, diffusivity=0.1, rate=0.5, t=5.0, dt=0.1) - u).max()


def test_space_is_of_second_order():
    errors = [_steady_error(num_points) for num_points in (17, 33, 65)]
    np.testing.assert_allclose(np.log2(np.divide(errors[:-1], errors[1:])), 2.0, atol=0.1)


@both_boundaries
def test_time_is_of_second_order(boundary):
    x = _nodes(33)
    u0, source = np.sin(np.pi * x) ** 2, np.cos(3 * x)

    def solved(dt):
        return _solved(u0, source, dt=dt, rate=2.0, diffusivity=0.05, t=0.5, boundary=boundary)

    fine = solved(0.0005)[:, 1:-1]
    errors = [np.abs(solved(dt)[:, 1:-1] - fine).max() for dt in (0.02, 0.01, 0.005)]
    np.testing.assert_allclose(np.log2(np.divide(errors[:-1], errors[1:])), 2.0, atol=0.3)


def _mass(u):
    return np.trapezoid(u, dx=1 / (u.shape[1] - 1), axis=1)


@settings(deadline=None)
@given(st.integers(0, 2**31), st.integers(3, 40), st.floats(1e-3, 10.0))
def test_mass_between_closed_ends_changes_by_the_source_alone(seed, num_points, diffusivity):
    u0, source = np.random.default_rng(seed).standard_normal((2, 3, num_points))
    solved = _solved(
        u0, source, diffusivity=diffusivity, rate=0.0, dt=0.1, boundary=Boundary.CLOSED
    )
    np.testing.assert_allclose(_mass(solved), _mass(u0) + _mass(source), atol=1e-9)


@both_boundaries
def test_reflection_commutes_with_the_solution(boundary):
    u0, source = squared_exponential_grf(np.random.default_rng(0), 6, 41).reshape(2, 3, 41)
    solved = _solved(u0, source, boundary=boundary, dt=0.05)
    reflected = _solved(u0[:, ::-1], source[:, ::-1], boundary=boundary, dt=0.05)
    np.testing.assert_allclose(reflected, solved[:, ::-1], atol=1e-11)


def test_fixed_ends_stay_at_zero():
    solved = _solved(np.ones((1, 21)))
    assert solved[0, 0] == solved[0, -1] == 0.0
    assert (solved[0, 1:-1] > 0).all()


def test_the_benchmark_is_resolved_by_a_hundred_points():
    source = squared_exponential_grf(np.random.default_rng(1), 8, 401)
    rest = np.zeros_like(source)
    fine = _solved(rest, source, dt=0.0025)[:, ::4]
    coarse = _solved(rest[:, ::4], source[:, ::4], dt=0.05)
    errors = np.linalg.norm(coarse - fine, axis=1) / np.linalg.norm(fine, axis=1)
    assert errors.max() < 3e-3


def test_explosions_are_refused():
    with pytest.raises(FloatingPointError, match="shorten dt"):
        _solved(np.full((1, 9), 5.0), rate=1.0, t=2.0, boundary=Boundary.CLOSED)

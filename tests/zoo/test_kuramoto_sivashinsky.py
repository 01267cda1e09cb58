import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from certisolve_zoo.pdes.kuramoto_sivashinsky import solve_kuramoto_sivashinsky
from certisolve_zoo.pdes.random_fields import random_sines

EXTENT = 32 * np.pi


def _solved(initial_condition, *, nu=1.0, domain_extent=EXTENT, t, dt):
    return solve_kuramoto_sivashinsky(
        initial_condition, nu, domain_extent=domain_extent, num_snapshots=1, interval=t, dt=dt
    )[:, 0]


def _published_start(num_points):
    x = EXTENT * np.arange(num_points) / num_points
    return (np.cos(x / 16) * (1 + np.sin(x / 16)))[None]


@pytest.mark.parametrize(("t", "tolerance"), [(10.0, 1e-4), (50.0, 1e-3), (100.0, 0.1)])
def test_the_published_example_agrees_with_a_finer_run(t, tolerance):
    """128 points and dt = 1/4 (Kassam & Trefethen, 2005); chaos makes the error grow."""
    published = _solved(_published_start(128), t=t, dt=0.25)
    fine = _solved(_published_start(256), t=t, dt=0.025)[:, ::2]
    assert np.abs(published - fine).max() < tolerance * np.abs(fine).max()


def test_the_published_example_leaves_its_plateau_for_chaos():
    """The published picture: the initial waves of height 1.3 break up into cells of height 3."""
    final = _solved(_published_start(128), t=150.0, dt=0.25)
    assert 2.0 < np.abs(final).max() < 3.5
    # About L/(2π√2) cells of the fastest growing wavelength.
    spectrum = np.abs(np.fft.rfft(final[0]))
    assert 8 <= spectrum.argmax() <= 16


def test_an_implicit_integrator_agrees():
    num_points, t, nu, extent = 64, 2.0, 0.5, 16.0
    initial_condition = random_sines(np.random.default_rng(0), 1, num_points, max_wavenumber=4)
    k = 2j * np.pi / extent * np.arange(num_points // 2 + 1)

    def vector_field(_, u):
        linear = np.fft.irfft(-(k**2 + nu * k**4) * np.fft.rfft(u))
        return linear - 0.5 * np.fft.irfft(k * np.fft.rfft(u**2))

    solved = solve_ivp(vector_field, (0, t), initial_condition[0], "Radau", rtol=1e-8, atol=1e-9)
    ours = _solved(initial_condition, nu=nu, domain_extent=extent, t=t, dt=0.005)[0]
    # Only the derivative of the highest mode, which holds no energy, is defined differently.
    np.testing.assert_allclose(ours, solved.y[:, -1], atol=2e-6)


@pytest.mark.parametrize("nu", [0.075, 0.125, 1.0])
def test_small_waves_grow_or_decay_as_linear_theory_says(nu):
    x = 64 * np.arange(128) / 128
    for cycles in (3, 9, 20):
        k = 2 * np.pi * cycles / 64
        initial_condition = 1e-8 * np.cos(k * x)[None]
        expected = initial_condition * np.exp(k**2 - nu * k**4)
        solved = _solved(initial_condition, nu=nu, domain_extent=64.0, t=1.0, dt=0.1)
        np.testing.assert_allclose(solved, expected, atol=1e-7 * np.abs(expected).max())


def test_the_observed_order_is_four():
    # Longer steps lose up to one order to the stiffest modes (Hochbruck & Ostermann, 2005).
    initial_condition = random_sines(np.random.default_rng(1), 2, 128)
    fine = _solved(initial_condition, t=16.0, dt=1 / 512)
    errors = [
        np.abs(_solved(initial_condition, t=16.0, dt=dt) - fine).max()
        for dt in (1 / 32, 1 / 64, 1 / 128)
    ]
    np.testing.assert_allclose(np.log2(np.divide(errors[:-1], errors[1:])), 4.0, atol=0.3)


def test_the_mean_is_conserved():
    initial_condition = random_sines(np.random.default_rng(2), 3, 128) + 0.2
    snapshots = solve_kuramoto_sivashinsky(
        initial_condition, domain_extent=EXTENT, num_snapshots=4, interval=5.0, dt=0.25
    )
    np.testing.assert_allclose(snapshots.mean(axis=2), 0.2, rtol=1e-11)


def test_an_added_mean_moves_the_solution():
    initial_condition = random_sines(np.random.default_rng(3), 2, 128)
    velocity, t = EXTENT / 16, 4.0
    moved = np.roll(_solved(initial_condition, t=t, dt=0.01), 128 // 4, axis=1) + velocity
    np.testing.assert_allclose(
        _solved(initial_condition + velocity, t=t, dt=0.01), moved, atol=1e-4
    )


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**31), cells=st.integers(0, 127), reflected=st.booleans())
def test_shifts_and_reflections_commute_with_the_solution(seed, cells, reflected):
    def turned(u):
        u = np.roll(u, cells, axis=1)
        return -np.roll(u[:, ::-1], 1, axis=1) if reflected else u

    initial_condition = random_sines(np.random.default_rng(seed), 1, 128)
    expected = turned(_solved(initial_condition, t=2.0, dt=0.25))
    np.testing.assert_allclose(
        _solved(turned(initial_condition), t=2.0, dt=0.25), expected, atol=1e-10
    )

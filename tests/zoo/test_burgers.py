import numpy as np
import pytest
from scipy.integrate import solve_ivp

from certisolve_zoo.pdes.burgers import cole_hopf, pseudo_spectral
from certisolve_zoo.pdes.random_fields import periodic_grf

NU = 0.01


def _relative(difference, reference):
    return np.linalg.norm(difference, axis=1).max() / np.linalg.norm(reference, axis=1).min()


def _pseudo_spectral(initial_condition, t, nu):
    """Fourier collocation with de-aliasing, in time by an implicit Runge-Kutta method."""
    num_points = len(initial_condition)
    k = 2j * np.pi * np.arange(num_points // 2 + 1)
    keep = np.arange(num_points // 2 + 1) < num_points / 3

    def vector_field(_, u):
        return np.fft.irfft(
            nu * k**2 * np.fft.rfft(u) - 0.5 * k * keep * np.fft.rfft(u**2), n=num_points
        )

    solved = solve_ivp(vector_field, (0, t), initial_condition, "DOP853", rtol=1e-10, atol=1e-12)
    return solved.y[:, -1]


def test_cole_hopf_agrees_with_an_independent_integrator():
    initial_condition = periodic_grf(np.random.default_rng(0), 3, 256)
    exact = cole_hopf(initial_condition, 0.5, NU)
    integrated = np.stack([_pseudo_spectral(u0, 0.5, NU) for u0 in initial_condition])
    # The integrator's own spatial error on 256 points, at shocks about 0.04 wide.
    assert _relative(integrated - exact, exact) < 1e-6


def test_cole_hopf_does_not_depend_on_the_working_grid():
    fine = periodic_grf(np.random.default_rng(1), 20, 4096)
    coarse = np.fft.irfft(np.fft.rfft(fine)[:, :513], n=1024) / 4
    fine = np.fft.irfft(np.fft.rfft(coarse), n=4096) * 4
    difference = cole_hopf(fine, 1.0, NU)[:, ::4] - cole_hopf(coarse, 1.0, NU)
    assert _relative(difference, cole_hopf(coarse, 1.0, NU)) < 1e-10


def test_two_steps_equal_one():
    initial_condition = periodic_grf(np.random.default_rng(2), 5, 1024)
    once = cole_hopf(initial_condition, 1.0, NU)
    twice = cole_hopf(cole_hopf(initial_condition, 0.4, NU), 0.6, NU)
    assert _relative(twice - once, once) < 1e-9


def test_a_mean_velocity_moves_the_solution():
    initial_condition = periodic_grf(np.random.default_rng(3), 5, 1024)
    mean, t = 0.25, 1.0
    moved = np.roll(cole_hopf(initial_condition, t, NU), 1024 // 4, axis=1) + mean
    np.testing.assert_allclose(cole_hopf(initial_condition + mean, t, NU), moved, atol=1e-11)


def test_reflection_reverses_the_velocity():
    initial_condition = periodic_grf(np.random.default_rng(4), 5, 1024)

    def reflected(u):
        return -np.roll(u[:, ::-1], 1, axis=1)

    solution = cole_hopf(initial_condition, 1.0, NU)
    np.testing.assert_allclose(
        cole_hopf(reflected(initial_condition), 1.0, NU), reflected(solution), atol=1e-12
    )


def test_other_grids_are_refused():
    with pytest.raises(ValueError, match="100 points"):
        cole_hopf(np.zeros((1, 100)), 1.0, NU)


@pytest.mark.parametrize("nu", [0.1, 0.01])
def test_the_pseudo_spectral_solver_agrees_with_cole_hopf(nu):
    initial_condition = periodic_grf(np.random.default_rng(5), 3, 1024)
    solution = pseudo_spectral(initial_condition, 1.0, nu, dt=0.002)
    exact = cole_hopf(initial_condition, 1.0, nu)
    # At ν = 0.1 a hundredth of the initial velocity is left, and errors count as much more.
    assert _relative(solution - exact, exact) < 2e-7


def test_the_pseudo_spectral_solver_is_of_fourth_order():
    initial_condition = np.sin(2 * np.pi * np.arange(128) / 128)[None]
    exact = cole_hopf(initial_condition, 0.5, 0.05)
    errors = [
        np.abs(pseudo_spectral(initial_condition, 0.5, 0.05, dt=dt) - exact).max()
        for dt in (0.02, 0.01, 0.005)
    ]
    np.testing.assert_allclose(np.log2(np.divide(errors[:-1], errors[1:])), 4.0, atol=0.3)


def test_the_pseudo_spectral_solver_conserves_momentum_and_loses_energy():
    initial_condition = periodic_grf(np.random.default_rng(6), 4, 256) + 0.3
    solutions = [pseudo_spectral(initial_condition, t, 0.02, dt=0.005) for t in (0.1, 0.2, 0.4)]
    energies = [np.square(u).sum(axis=1) for u in (initial_condition, *solutions)]
    assert (np.diff(energies, axis=0) < 0).all()
    for u in solutions:
        np.testing.assert_allclose(u.mean(axis=1), initial_condition.mean(axis=1), rtol=1e-12)


def test_the_pseudo_spectral_solver_goes_below_the_viscosity_that_cole_hopf_allows():
    initial_condition = np.sin(2 * np.pi * np.arange(2048) / 2048)[None]
    coarse = pseudo_spectral(initial_condition[:, ::2].copy(), 0.3, 1e-3, dt=5e-4)
    fine = pseudo_spectral(initial_condition, 0.3, 1e-3, dt=2e-4)
    assert _relative(coarse - fine[:, ::2], coarse) < 3e-4

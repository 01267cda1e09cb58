import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from certisolve_zoo.pdes.navier_stokes import diagonal_forcing, solve_navier_stokes, velocity
from certisolve_zoo.pdes.random_fields import periodic_grf_2d


def _solved(initial_condition, nu=1e-3, *, t=1.0, dt=0.05, forcing=None):
    return solve_navier_stokes(
        initial_condition, nu, forcing=forcing, num_snapshots=1, interval=t, dt=dt
    )[:, 0]


def _random_vorticity(seed, num_samples=1, num_points=32):
    """Without the modes that the 2/3 rule takes out, and without Nyquist's."""
    spectrum = np.fft.rfft2(periodic_grf_2d(np.random.default_rng(seed), num_samples, num_points))
    k = np.abs(np.fft.fftfreq(num_points, 1 / num_points))
    keep = (k[:, None] < num_points / 3) & (np.arange(num_points // 2 + 1) < num_points / 3)
    return np.fft.irfft2(spectrum * keep)


def _grid(num_points):
    x = np.arange(num_points) / num_points
    return np.meshgrid(x, x, indexing="ij")


def _energy(vorticity):
    u, v = velocity(vorticity)
    return 0.5 * (u**2 + v**2).mean(axis=(1, 2))


def test_taylor_green_vortices_decay_as_they_should():
    y, x = _grid(32)
    initial_condition = (np.sin(2 * np.pi * x) * np.sin(2 * np.pi * y))[None]
    t, nu = 3.0, 0.01
    exact = initial_condition * np.exp(-8 * np.pi**2 * nu * t)
    np.testing.assert_allclose(_solved(initial_condition, nu, t=t), exact, atol=1e-12)


def test_the_velocity_follows_from_the_vorticity():
    y, x = _grid(32)
    shear, wave = -2 * np.pi * np.cos(2 * np.pi * y), np.cos(4 * np.pi * x)
    u, v = velocity((shear + wave)[None])
    np.testing.assert_allclose(u[0], np.sin(2 * np.pi * y), atol=1e-12)
    np.testing.assert_allclose(v[0], np.sin(4 * np.pi * x) / (4 * np.pi), atol=1e-12)


def test_the_forcing_spins_up_a_parallel_flow():
    forcing = diagonal_forcing(32)
    t, nu = 5.0, 1e-2
    rate = 8 * np.pi**2 * nu
    exact = forcing / rate * -np.expm1(-rate * t)
    from_rest = _solved(np.zeros((1, 32, 32)), nu, t=t, dt=0.05, forcing=forcing)
    np.testing.assert_allclose(from_rest[0], exact, atol=1e-8)


def _advective_form(initial_condition, nu, t):
    """v·∇w as it stands, with the same 2/3 rule, in time by an adaptive method."""
    num_points = len(initial_condition)
    k = 2j * np.pi * np.fft.fftfreq(num_points, 1 / num_points)
    ky, kx = k[:, None], k[None, :]
    squared = kx**2 + ky**2
    inverse = np.where(squared == 0, 0.0, 1 / np.where(squared == 0, 1.0, squared))
    keep = (np.abs(kx) < 2 * np.pi * num_points / 3) & (np.abs(ky) < 2 * np.pi * num_points / 3)

    def vector_field(_, flat):
        spectrum = np.fft.fft2(flat.reshape(num_points, num_points))
        psi = -inverse * keep * spectrum
        fields = (ky * psi, -kx * psi, kx * keep * spectrum, ky * keep * spectrum)
        u, v, w_x, w_y = np.fft.ifft2(fields).real
        return np.fft.ifft2(
            nu * squared * spectrum - keep * np.fft.fft2(u * w_x + v * w_y)
        ).real.ravel()

    solved = solve_ivp(
        vector_field, (0, t), initial_condition.ravel(), "DOP853", rtol=1e-9, atol=1e-11
    )
    return solved.y[:, -1].reshape(num_points, num_points)


def test_turbulence_agrees_with_an_independent_integrator():
    initial_condition = 10 * _random_vorticity(0)
    expected = _advective_form(initial_condition[0], 1e-3, 1.0)
    solved = _solved(initial_condition, 1e-3, dt=0.005)[0]
    assert np.abs(expected - initial_condition[0]).max() > 1.0
    np.testing.assert_allclose(solved, expected, atol=1e-6)


def test_the_observed_order_is_four():
    initial_condition = _random_vorticity(1)
    forcing = diagonal_forcing(32)
    fine = _solved(initial_condition, t=2.0, dt=0.01, forcing=forcing)
    errors = [
        np.abs(_solved(initial_condition, t=2.0, dt=dt, forcing=forcing) - fine).max()
        for dt in (0.2, 0.1, 0.05)
    ]
    np.testing.assert_allclose(np.log2(np.divide(errors[:-1], errors[1:])), 4.0, atol=0.3)


def test_finer_grids_agree():
    fine = periodic_grf_2d(np.random.default_rng(2), 1, 64, alpha=5.0, tau=3.0)
    keywords = {"t": 2.0, "dt": 0.05}
    coarse = _solved(fine[:, ::2, ::2].copy(), 3e-3, forcing=diagonal_forcing(32), **keywords)
    reference = _solved(fine, 3e-3, forcing=diagonal_forcing(64), **keywords)[:, ::2, ::2]
    assert np.abs(coarse - reference).max() < 1e-4 * np.abs(reference).max()


def test_an_inviscid_flow_conserves_energy_and_enstrophy():
    initial_condition = _random_vorticity(3, 2)
    final = _solved(initial_condition, 0.0, t=2.0, dt=0.02)
    np.testing.assert_allclose(_energy(final), _energy(initial_condition), rtol=1e-7)
    enstrophies = [(w**2).mean(axis=(1, 2)) for w in (initial_condition, final)]
    np.testing.assert_allclose(*enstrophies, rtol=1e-7)


def test_a_viscous_flow_loses_energy_and_keeps_its_mean_vorticity():
    initial_condition = _random_vorticity(4, 3) + 0.1
    snapshots = solve_navier_stokes(
        initial_condition, 1e-3, forcing=None, num_snapshots=5, interval=0.5, dt=0.05
    )
    energies = [_energy(w) for w in (initial_condition, *np.moveaxis(snapshots, 1, 0))]
    assert (np.diff(energies, axis=0) < 0).all()
    np.testing.assert_allclose(snapshots.mean(axis=(2, 3)), 0.1, rtol=1e-12)


def test_the_velocity_has_no_divergence_and_the_given_curl():
    vorticity = _random_vorticity(5, 2)
    k = 2j * np.pi * np.fft.fftfreq(32, 1 / 32)
    u, v = (np.fft.fft2(component) for component in velocity(vorticity))
    divergence = k[None, :] * u + k[:, None] * v
    curl = np.fft.ifft2(k[None, :] * v - k[:, None] * u).real
    np.testing.assert_allclose(divergence, 0.0, atol=1e-10)
    np.testing.assert_allclose(curl, vorticity, atol=1e-12)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**31), down=st.integers(0, 31), right=st.integers(0, 31))
def test_a_moved_vorticity_has_the_moved_solution(seed, down, right):
    initial_condition = _random_vorticity(seed)
    moved = np.roll(initial_condition, (down, right), axis=(1, 2))
    expected = np.roll(_solved(initial_condition), (down, right), axis=(1, 2))
    np.testing.assert_allclose(_solved(moved), expected, atol=1e-12)


@pytest.mark.parametrize(
    "turned",
    [
        lambda w: -np.roll(w[:, ::-1], 1, axis=1),
        lambda w: -np.swapaxes(w, 1, 2),
        lambda w: np.roll(np.rot90(w, axes=(1, 2)), 1, axis=1),
    ],
    ids=["reflected", "transposed", "rotated"],
)
def test_the_symmetries_of_the_square_hold(turned):
    initial_condition = _random_vorticity(6)
    expected = turned(_solved(initial_condition))
    np.testing.assert_allclose(_solved(turned(initial_condition)), expected, atol=1e-12)


def test_steps_that_are_too_long_are_refused():
    with pytest.raises(FloatingPointError, match="shorten dt"):
        _solved(50 * _random_vorticity(7), 1e-5, t=50.0, dt=1.0)

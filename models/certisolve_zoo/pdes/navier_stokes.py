"""Incompressible Navier-Stokes equations on the periodic unit square, for the vorticity.

    w_t + v·∇w = ν Δw + f,   v = (ψ_y, -ψ_x),   -Δψ = w - mean(w)

Grid: (i/N, j/N), right ends left out; axes are y, x. The benchmark (Li et al., 2020) has
f = 0.1 (sin 2π(x + y) + cos 2π(x + y)), starts from `random_fields.periodic_grf_2d` and records
every unit of time. Good values: ν = 1e-3 with N = 64, dt = 0.1, which is within 1e-6 of a quarter
of that dt up to t = 50; N = 32, dt = 0.1 is within 4e-4.
"""

import numpy as np
from jaxtyping import Complex128, Float64
from scipy.fft import irfft2, rfft2

from certisolve_zoo.steppers import Diagonal, IntegratingFactorRK4, Semilinear, divide, rollout

from .fourier import plane_resolved, plane_wavenumbers

FORCING_AMPLITUDE = 0.1


def diagonal_forcing(num_points: int) -> Float64[np.ndarray, "y x"]:
    """The f of the benchmark at the grid points."""
    x = np.arange(num_points) / num_points
    phase = 2 * np.pi * (x[:, None] + x[None, :])
    return np.asarray(FORCING_AMPLITUDE * (np.sin(phase) + np.cos(phase)))


def solve_navier_stokes(
    initial_condition: Float64[np.ndarray, "sample y x"],
    nu: float,
    *,
    forcing: Float64[np.ndarray, "y x"] | None,
    num_snapshots: int,
    interval: float = 1.0,
    dt: float,
) -> Float64[np.ndarray, "sample t y x"]:
    """The vorticity at t = interval, 2 interval, ..., pseudo-spectrally with IF-RK4 in time.

    Products are de-aliased by the 2/3 rule, and modes beyond it only decay.

    Args:
        initial_condition: w at t = 0.
        nu: viscosity ν.
        forcing: f, or None for none.
        num_snapshots: times to return.
        interval: between them.
        dt: longest time step.
    """
    num_points = initial_condition.shape[1]
    steps_between, dt = divide(interval, dt)
    stepper = IntegratingFactorRK4(_in_fourier_space(num_points, nu, forcing), dt)
    spectra = rollout(stepper, rfft2(initial_condition), num_snapshots, steps_between)
    return np.asarray(irfft2(spectra, s=(num_points, num_points)))


def velocity(
    vorticity: Float64[np.ndarray, "*sample y x"],
) -> tuple[Float64[np.ndarray, "*sample y x"], Float64[np.ndarray, "*sample y x"]]:
    """The two components of v, along x and along y, without mean."""
    num_points = vorticity.shape[-1]
    spectrum = rfft2(vorticity)
    return _velocity(spectrum, *_biot_savart(num_points))


def _in_fourier_space(
    num_points: int, nu: float, forcing: np.ndarray | None
) -> Semilinear[Diagonal]:
    """N(w) = ∂x∂y (u² - v²) - (∂x² - ∂y²) uv + f, which takes four transforms (Basdevant, 1983)."""
    ky, kx = plane_wavenumbers(num_points)
    keep = plane_resolved(num_points)
    to_u, to_v = (keep * factor for factor in _biot_savart(num_points))
    of_difference, of_product = keep * (-kx * ky), keep * (kx**2 - ky**2)
    source = 0.0 if forcing is None else rfft2(forcing)

    def nonlinear(spectrum: Complex128[np.ndarray, "sample ky kx"]) -> np.ndarray:
        u, v = _velocity(spectrum, to_u, to_v)
        product = rfft2(u * v)
        product *= of_product
        difference = rfft2((u - v) * (u + v))
        difference *= of_difference
        return np.asarray(difference + product + source)

    return Semilinear(Diagonal(-nu * (kx**2 + ky**2)), nonlinear)


def _biot_savart(num_points: int) -> tuple[np.ndarray, np.ndarray]:
    """Factors that turn the spectrum of the vorticity into those of the velocities."""
    ky, kx = plane_wavenumbers(num_points)
    squared = kx**2 + ky**2
    squared[0, 0] = np.inf
    return 1j * ky / squared, -1j * kx / squared


def _velocity(
    spectrum: np.ndarray, to_u: np.ndarray, to_v: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    shape = (spectrum.shape[-2], spectrum.shape[-2])
    u = irfft2(to_u * spectrum, s=shape, overwrite_x=True)
    v = irfft2(to_v * spectrum, s=shape, overwrite_x=True)
    return np.asarray(u), np.asarray(v)

"""The Kuramoto-Sivashinsky equation on a periodic interval.

    u_t + u u_x + u_xx + ν u_xxxx = 0,   x in (0, L) periodic

Long waves grow, short ones decay, and the nonlinearity carries energy from the former to the
latter: solutions become chaotic. Grid: x_i = iL/N, right end left out.
Good values: ν = 1, L = 32π, N = 256, dt = 1/16 (Kassam & Trefethen) is right to 5e-4 up to t = 100.
ν = 0.1, L = 64 with `random_fields.random_sines` has 32 growing waves; N = 256, dt = 0.01 is right
to 6e-4 at t = 5, and N = 128 is useless at any dt.
"""

import numpy as np
from jaxtyping import Float64
from scipy.fft import irfft, rfft

from certisolve_zoo.steppers import Diagonal, ExponentialRK4, Semilinear, divide, rollout

from .fourier import wavenumbers


def solve_kuramoto_sivashinsky(
    initial_condition: Float64[np.ndarray, "sample x"],
    nu: float = 1.0,
    *,
    domain_extent: float,
    num_snapshots: int,
    interval: float,
    dt: float,
) -> Float64[np.ndarray, "sample t x"]:
    """The solution at t = interval, 2 interval, ..., pseudo-spectrally with ETDRK4 in time.

    The method is that of Kassam & Trefethen, "Fourth-Order Time-Stepping for Stiff PDEs", 2005.
    Products are not de-aliased: damping holds the highest modes down, and modes above N/3 bring
    more than aliases cost.

    Args:
        initial_condition: u at t = 0.
        nu: hyperviscosity ν; the waves with |k| < 1/√ν grow.
        domain_extent: L.
        num_snapshots: times to return.
        interval: between them.
        dt: longest time step.
    """
    num_points = initial_condition.shape[1]
    steps_between, dt = divide(interval, dt)
    stepper = ExponentialRK4(_in_fourier_space(num_points, nu, domain_extent), dt)
    spectra = rollout(stepper, rfft(initial_condition), num_snapshots, steps_between)
    return np.asarray(irfft(spectra, n=num_points))


def _in_fourier_space(num_points: int, nu: float, domain_extent: float) -> Semilinear[Diagonal]:
    k = wavenumbers(num_points, domain_extent)
    minus_half_derivative = -0.5j * k

    def nonlinear(spectrum: np.ndarray) -> np.ndarray:
        u = irfft(spectrum, n=num_points)
        return np.asarray(minus_half_derivative * rfft(u**2))

    return Semilinear(Diagonal(k**2 - nu * k**4), nonlinear)

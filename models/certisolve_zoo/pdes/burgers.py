"""Viscous Burgers' equation on the periodic unit interval, solved exactly.

    u_t + (u²/2)_x = ν u_xx,   x in (0, 1) periodic,   u(x, 0) = u0(x)

Grid: x_i = i/N, right end left out. Good values: ν >= 0.005 with the random initial conditions of
`random_fields.periodic_grf`; below that exp(-U0/2ν) leaves the range of float64.
"""

import numpy as np
from jaxtyping import Float64

WORKING_POINTS = 1024


def cole_hopf(
    initial_condition: Float64[np.ndarray, "sample x"], t: float, nu: float
) -> Float64[np.ndarray, "sample x"]:
    """The solution at time t by the Cole-Hopf transformation (Hopf, 1950; Cole, 1951).

    With U0' = u0, u = -2ν φ_x/φ where φ_t = ν φ_xx and φ(x, 0) = exp(-U0/2ν). The heat equation is
    solved in Fourier space. The mean of u0 is taken out first by Galilean invariance: with
    u0 = c + v0, u(x, t) = c + v(x - ct, t).

    Args:
        initial_condition: u0 at x_i = i/N.
        t: time, positive.
        nu: viscosity ν.

    Returns:
        u(x_i, t).
    """
    num_points = initial_condition.shape[1]
    working_points = max(num_points, WORKING_POINTS)
    mean = initial_condition.mean(axis=1, keepdims=True)
    ik = 2j * np.pi * np.arange(working_points // 2 + 1)
    spectrum = _pad_spectrum(np.fft.rfft(initial_condition - mean), num_points, working_points)
    phi = np.fft.rfft(_cole_hopf_potential(spectrum, ik, nu))
    phi *= np.exp(ik**2 * nu * t - ik * mean * t)
    phi_x = ik * phi
    phi_x[:, -1] = 0.0
    velocity = mean - 2 * nu * np.fft.irfft(phi_x) / np.fft.irfft(phi)
    return np.asarray(velocity[:, :: working_points // num_points])


def _pad_spectrum(spectrum: np.ndarray, num_points: int, working_points: int) -> np.ndarray:
    if working_points % num_points:
        raise ValueError(f"{num_points} points: need a divisor or multiple of {WORKING_POINTS}")
    padded = np.zeros((len(spectrum), working_points // 2 + 1), dtype=np.complex128)
    padded[:, : spectrum.shape[1]] = spectrum * (working_points / num_points)
    if working_points > num_points:
        padded[:, num_points // 2] *= 0.5
    return padded


def _cole_hopf_potential(spectrum: np.ndarray, ik: np.ndarray, nu: float) -> np.ndarray:
    """exp(-U0/2ν), scaled so that its largest value is 1."""
    antiderivative = spectrum.copy()
    antiderivative[:, 1:] /= ik[1:]
    exponent = -np.fft.irfft(antiderivative) / (2 * nu)
    return np.asarray(np.exp(exponent - exponent.max(axis=1, keepdims=True)))

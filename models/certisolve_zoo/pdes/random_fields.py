"""Gaussian random fields from which initial conditions and coefficients are drawn.

Where nothing else is said, the spectra are those of the data generators published with the Fourier
neural operator (Li et al., "Fourier Neural Operator for Parametric Partial Differential Equations",
2020).
"""

import numpy as np
from jaxtyping import Float64
from scipy.fft import dctn, ifft2


def periodic_grf(
    rng: np.random.Generator,
    num_samples: int,
    num_points: int,
    *,
    sigma: float = 25.0,
    tau: float = 5.0,
    gamma: float = 2.0,
) -> Float64[np.ndarray, "sample x"]:
    """Zero-mean periodic fields on (0, 1) at x_i = i/N.

    u(x) = Σ_{0<k<N/2} √2 σ ((2πk)² + τ²)^(-γ/2) (ξ_k cos 2πkx + η_k sin 2πkx), ξ, η ~ N(0, 1).

    The defaults are the Burgers initial conditions of the paper; their standard deviation is 0.59.

    Args:
        rng: source of ξ and η.
        num_samples: fields to draw.
        num_points: N, even.
        sigma: amplitude.
        tau: inverse correlation length.
        gamma: decay of the spectrum; 2 gives amplitudes that fall as k^-2.
    """
    wavenumbers = np.arange(1, num_points // 2)
    amplitude = np.sqrt(2.0) * sigma * ((2 * np.pi * wavenumbers) ** 2 + tau**2) ** (-gamma / 2)
    xi, eta = rng.standard_normal((2, num_samples, wavenumbers.size))
    spectrum = np.zeros((num_samples, num_points // 2 + 1), dtype=np.complex128)
    spectrum[:, 1:-1] = 0.5 * amplitude * (xi - 1j * eta)
    return np.fft.irfft(spectrum, n=num_points, axis=1, norm="forward")


def neumann_grf(
    rng: np.random.Generator,
    num_samples: int,
    num_points: int,
    *,
    tau: float = 3.0,
    alpha: float = 2.0,
) -> Float64[np.ndarray, "sample y x"]:
    """Zero-mean fields on the unit square with zero normal derivative, at nodes i/(N - 1).

    f(y, x) = Σ_{k≠0} τ^(α-1) (π²|k|² + τ²)^(-α/2) ξ_k c(k1, y) c(k2, x), ξ ~ N(0, 1), with
    c(0, x) = 1 and c(k, x) = √2 cos πkx. Only the sign matters to the two phases of Darcy flow.

    Args:
        rng: source of ξ.
        num_samples: fields to draw.
        num_points: N, nodes along each axis, both ends included.
        tau: inverse correlation length.
        alpha: decay of the spectrum.
    """
    k = np.arange(num_points)
    squared = np.pi**2 * (k[:, None] ** 2 + k[None, :] ** 2)
    coefficients = tau ** (alpha - 1) * (squared + tau**2) ** (-alpha / 2)
    coefficients[0, 0] = 0.0
    # The type-I transform doubles every cosine but the first and the last.
    norm = np.full(num_points, np.sqrt(2.0) / 2)
    norm[0], norm[-1] = 1.0, np.sqrt(2.0)
    noise = rng.standard_normal((num_samples, num_points, num_points))
    return np.asarray(dctn(coefficients * np.outer(norm, norm) * noise, type=1, axes=(1, 2)))


def periodic_grf_2d(
    rng: np.random.Generator,
    num_samples: int,
    num_points: int,
    *,
    tau: float = 7.0,
    alpha: float = 2.5,
) -> Float64[np.ndarray, "sample y x"]:
    """Zero-mean periodic fields on the unit square at (i/N, j/N).

    w = Re Σ_{k≠0} √2 τ^(α-1) (4π²|k|² + τ²)^(-α/2) (ξ_k + iη_k) exp(2πi k·x), ξ, η ~ N(0, 1).

    The defaults are the vorticities that the published generator starts from; their standard
    deviation is 0.257. The covariance printed in the paper is smaller.

    Args:
        rng: source of ξ and η.
        num_samples: fields to draw.
        num_points: N, even.
        tau: inverse correlation length.
        alpha: decay of the spectrum.
    """
    k = np.fft.fftfreq(num_points, 1 / num_points)
    squared = 4 * np.pi**2 * (k[:, None] ** 2 + k[None, :] ** 2)
    amplitude = np.sqrt(2.0) * tau ** (alpha - 1) * (squared + tau**2) ** (-alpha / 2)
    amplitude[0, 0] = 0.0
    xi, eta = rng.standard_normal((2, num_samples, num_points, num_points))
    return np.asarray(ifft2(amplitude * (xi + 1j * eta), norm="forward").real)


def random_sines(
    rng: np.random.Generator,
    num_samples: int,
    num_points: int,
    *,
    num_waves: int = 10,
    max_wavenumber: int = 8,
    amplitude: float = 0.5,
) -> Float64[np.ndarray, "sample x"]:
    """Sums of sine waves, periodic, at x_i = iL/N of an interval of any length L.

    u(x) = Σ_j A_j sin(2πl_j x/L + φ_j), A_j ~ U(-amplitude, amplitude), l_j in 1..max_wavenumber,
    φ_j ~ U(0, 2π), as in Brandstetter et al., "Lie Point Symmetry Data Augmentation for Neural PDE
    Solvers", 2022.

    Args:
        rng: source of A, l and φ.
        num_samples: fields to draw.
        num_points: N.
        num_waves: terms of each sum.
        max_wavenumber: largest l_j.
        amplitude: bound on |A_j|.
    """
    shape = (num_samples, num_waves, 1)
    heights = rng.uniform(-amplitude, amplitude, shape)
    cycles = rng.integers(1, max_wavenumber + 1, shape)
    phases = rng.uniform(0.0, 2 * np.pi, shape)
    x = np.arange(num_points) / num_points
    return np.asarray((heights * np.sin(2 * np.pi * cycles * x + phases)).sum(axis=1))


def squared_exponential_grf(
    rng: np.random.Generator,
    num_samples: int,
    num_points: int,
    *,
    length_scale: float = 0.2,
) -> Float64[np.ndarray, "sample x"]:
    """Fields on [0, 1] at nodes i/(N - 1), with covariance exp(-(x - y)²/2l²).

    They are the sources of Lu et al., "Learning nonlinear operators via DeepONet", 2021.

    Args:
        rng: source of the noise.
        num_samples: fields to draw.
        num_points: N, both ends included.
        length_scale: l.
    """
    x = np.linspace(0.0, 1.0, num_points)
    covariance = np.exp(-((x[:, None] - x[None, :]) ** 2) / (2 * length_scale**2))
    # The smallest eigenvalues are rounding errors of either sign.
    variances, modes = np.linalg.eigh(covariance)
    root = modes * np.sqrt(np.maximum(variances, 0.0))
    return np.asarray(rng.standard_normal((num_samples, num_points)) @ root.T)

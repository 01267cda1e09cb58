"""Wavenumbers and truncation of real Fourier transforms, shared by the pseudo-spectral solvers."""

import numpy as np
from jaxtyping import Bool, Float64


def wavenumbers(num_points: int, domain_extent: float = 1.0) -> Float64[np.ndarray, " mode"]:
    """2πk/L of each mode of `rfft`, k = 0, ..., N/2."""
    return 2 * np.pi / domain_extent * np.arange(num_points // 2 + 1)


def plane_wavenumbers(
    num_points: int, domain_extent: float = 1.0
) -> tuple[Float64[np.ndarray, "mode_y 1"], Float64[np.ndarray, "1 mode_x"]]:
    """2πk/L of each mode of `rfft2` along y, with negative ones, and along x."""
    along_y = 2 * np.pi / domain_extent * np.fft.fftfreq(num_points, 1 / num_points)
    return along_y[:, None], wavenumbers(num_points, domain_extent)[None, :]


def resolved(num_points: int) -> Bool[np.ndarray, " mode"]:
    """The modes of `rfft` below N/3, whose products do not alias onto them (Orszag's 2/3 rule)."""
    return np.arange(num_points // 2 + 1) < num_points / 3


def plane_resolved(num_points: int) -> Bool[np.ndarray, "mode_y mode_x"]:
    """The modes of `rfft2` below N/3 along both axes."""
    along_y = np.abs(np.fft.fftfreq(num_points, 1 / num_points)) < num_points / 3
    return np.asarray(along_y[:, None] & resolved(num_points)[None, :])

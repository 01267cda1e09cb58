import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from certisolve_zoo.pdes.random_fields import (
    neumann_grf,
    periodic_grf,
    periodic_grf_2d,
    random_sines,
    squared_exponential_grf,
)


def test_periodic_fields_have_the_variance_of_their_spectrum():
    fields = periodic_grf(np.random.default_rng(0), 4000, 256)
    k = np.arange(1, 128)
    variance = np.sum(2 * 25**2 * ((2 * np.pi * k) ** 2 + 25) ** -2.0)
    # 4000 samples with a handful of independent modes each: 3 % is four standard deviations.
    assert fields.var() == pytest.approx(variance, rel=0.03)
    assert fields.std() == pytest.approx(0.59, abs=0.02)


def test_periodic_fields_have_no_mean():
    fields = periodic_grf(np.random.default_rng(1), 10, 64)
    np.testing.assert_allclose(fields.mean(axis=1), 0.0, atol=1e-14)


def test_periodic_fields_are_stationary():
    fields = periodic_grf(np.random.default_rng(2), 4000, 32)
    np.testing.assert_allclose(fields.std(axis=0), fields.std(), rtol=0.06)


def test_neumann_fields_equal_their_cosine_series():
    num_points, tau, alpha = 6, 3.0, 2.0
    noise = np.random.default_rng(3).standard_normal((1, num_points, num_points))[0]
    x = np.linspace(0, 1, num_points)
    k = np.arange(num_points)
    waves = np.where(k == 0, 1.0, np.sqrt(2)) * np.cos(np.pi * np.outer(x, k))
    spectrum = tau ** (alpha - 1) * (np.pi**2 * (k[:, None] ** 2 + k**2) + tau**2) ** (-alpha / 2)
    spectrum[0, 0] = 0.0
    expected = waves @ (spectrum * noise) @ waves.T
    field = neumann_grf(np.random.default_rng(3), 1, num_points, tau=tau, alpha=alpha)[0]
    np.testing.assert_allclose(field, expected, rtol=1e-12, atol=1e-14)


def test_a_seed_gives_the_same_fields():
    fields = [neumann_grf(np.random.default_rng(7), 2, 9) for _ in range(2)]
    np.testing.assert_array_equal(*fields)


def test_vorticities_have_the_variance_of_their_spectrum():
    fields = periodic_grf_2d(np.random.default_rng(4), 1500, 32)
    k = np.fft.fftfreq(32, 1 / 32)
    squared = 4 * np.pi**2 * (k[:, None] ** 2 + k**2)
    squared[0, 0] = np.inf
    variance = np.sum(2 * 7.0**3 * (squared + 49) ** -2.5)
    assert fields.var() == pytest.approx(variance, rel=0.03)
    assert variance**0.5 == pytest.approx(0.257, abs=0.01)
    np.testing.assert_allclose(fields.mean(axis=(1, 2)), 0.0, atol=1e-14)


@given(st.integers(0, 2**31), st.integers(1, 12))
def test_sines_have_no_mean_and_no_wave_beyond_the_shortest(seed, max_wavenumber):
    fields = random_sines(np.random.default_rng(seed), 2, 64, max_wavenumber=max_wavenumber)
    spectrum = np.abs(np.fft.rfft(fields))
    np.testing.assert_allclose(spectrum[:, 0], 0.0, atol=1e-11)
    np.testing.assert_allclose(spectrum[:, max_wavenumber + 1 :], 0.0, atol=1e-11)
    assert np.abs(fields).max() <= 10 * 0.5


def test_squared_exponential_fields_have_their_covariance():
    fields = squared_exponential_grf(np.random.default_rng(5), 20_000, 11)
    x = np.linspace(0, 1, 11)
    expected = np.exp(-((x[:, None] - x) ** 2) / 0.08)
    # Five standard deviations of 20 000 products.
    np.testing.assert_allclose(fields.T @ fields / len(fields), expected, atol=0.05)

import numpy as np
import pytest

from certisolve_zoo.pdes.random_fields import neumann_grf, periodic_grf


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

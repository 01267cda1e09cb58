import numpy as np
import pytest
from torch import from_numpy

from certisolve_zoo.pdes.darcy import HIGH, LOW, solve_darcy, two_phase_coefficient
from certisolve_zoo.specs.darcy2d_fno import turned


def _manufactured(num_points):
    """U = sin πx sin 2πy with a = 2 + x y, and the source it needs."""
    y, x = np.meshgrid(*2 * [np.linspace(0, 1, num_points)], indexing="ij")
    a = 2 + x * y
    u = np.sin(np.pi * x) * np.sin(2 * np.pi * y)
    u_x = np.pi * np.cos(np.pi * x) * np.sin(2 * np.pi * y)
    u_y = 2 * np.pi * np.sin(np.pi * x) * np.cos(2 * np.pi * y)
    return a, 5 * np.pi**2 * a * u - y * u_x - x * u_y, u


def _error(num_points):
    a, source, u = _manufactured(num_points)
    return np.abs(solve_darcy(a, source) - u).max()


def test_smooth_solutions_converge_with_second_order():
    errors = [_error(num_points) for num_points in (17, 33, 65)]
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    np.testing.assert_allclose(orders, 2.0, atol=0.1)


def test_constant_permeability_scales_the_pressure():
    pressure = solve_darcy(np.ones((41, 41)))
    np.testing.assert_allclose(solve_darcy(np.full((41, 41), 4.0)), pressure / 4, rtol=1e-10)
    # Largest deflection of the membrane -Δu = 1 on the unit square (Timoshenko): 0.0737.
    assert pressure.max() == pytest.approx(0.0737, rel=2e-3)


def test_the_permeability_has_two_values_about_equally_often():
    a = two_phase_coefficient(np.random.default_rng(0), 200, 43)
    assert set(np.unique(a)) == {LOW, HIGH}
    assert np.mean(a == HIGH) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("symmetry", range(8))
def test_the_symmetries_of_the_square_are_exact(symmetry):
    a = two_phase_coefficient(np.random.default_rng(1), 1, 31)
    turned_a = turned(from_numpy(a), symmetry).numpy()[0]
    turned_u = turned(from_numpy(solve_darcy(a[0])[None]), symmetry).numpy()[0]
    np.testing.assert_allclose(solve_darcy(turned_a), turned_u, rtol=1e-9, atol=1e-15)

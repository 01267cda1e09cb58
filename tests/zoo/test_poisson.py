import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import diags_array

from certisolve_zoo.pdes.conjugate_gradients import conjugate_gradients, jacobi
from certisolve_zoo.pdes.five_point import (
    five_point_load,
    five_point_matrix,
    five_point_product,
    solve_directly,
)
from certisolve_zoo.pdes.poisson import fast_poisson, lognormal_coefficient, solve_iteratively


def _coefficient(seed, num_points):
    return lognormal_coefficient(np.random.default_rng(seed), 1, num_points)[0]


def _manufactured(num_points):
    """U = sin πx sin 3πy with a = exp(x - y), and the source it needs."""
    y, x = np.meshgrid(*2 * [np.linspace(0, 1, num_points)], indexing="ij")
    a = np.exp(x - y)
    u = np.sin(np.pi * x) * np.sin(3 * np.pi * y)
    u_x = np.pi * np.cos(np.pi * x) * np.sin(3 * np.pi * y)
    u_y = 3 * np.pi * np.sin(np.pi * x) * np.cos(3 * np.pi * y)
    return a, a * (10 * np.pi**2 * u - u_x + u_y), u


def _directly(a, source):
    return solve_directly(a, source)


def _iteratively(a, source):
    return solve_iteratively(a, source, rtol=1e-12)[0]


@pytest.mark.parametrize("solve", [_directly, _iteratively])
def test_solvers_are_of_second_order(solve):
    errors = []
    for num_points in (17, 33, 65):
        a, source, u = _manufactured(num_points)
        errors.append(np.abs(solve(a, source) - u).max())
    np.testing.assert_allclose(np.log2(np.divide(errors[:-1], errors[1:])), 2.0, atol=0.1)


@settings(deadline=None)
@given(st.integers(0, 2**31), st.integers(4, 12))
def test_the_matrix_is_symmetric_positive_definite_and_equals_the_product(seed, num_points):
    rng = np.random.default_rng(seed)
    a = lognormal_coefficient(rng, 2, num_points)
    values = rng.standard_normal((2, num_points - 2, num_points - 2))
    product = five_point_product(a, values)
    for sample in range(2):
        matrix = five_point_matrix(a[sample]).toarray()
        np.testing.assert_array_equal(matrix, matrix.T)
        assert np.linalg.eigvalsh(matrix).min() > 0
        np.testing.assert_allclose(
            product[sample].ravel(), matrix @ values[sample].ravel(), atol=1e-11
        )


@given(st.integers(0, 2**31), st.integers(1, 20))
def test_fast_poisson_inverts_the_product_with_a_constant_coefficient(seed, size):
    load = np.random.default_rng(seed).standard_normal((2, size, size))
    ones = np.ones((2, size + 2, size + 2))
    np.testing.assert_allclose(five_point_product(ones, fast_poisson(load)), load, atol=1e-9)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**31), st.integers(4, 40))
def test_iterations_reach_what_the_direct_solver_finds(seed, num_points):
    a = _coefficient(seed, num_points)
    source = np.random.default_rng(seed).standard_normal(a.shape)
    u, report = solve_iteratively(a, source, rtol=1e-11)
    assert report.relative_residual < 1e-10
    exact = solve_directly(a, source)
    assert np.abs(u - exact).max() <= 1e-8 * np.abs(exact).max()


def test_the_preconditioned_iterations_do_not_depend_on_the_grid():
    counts = [
        solve_iteratively(_manufactured(num_points)[0], 1.0, rtol=1e-8)[1].num_iterations
        for num_points in (17, 33, 65, 129)
    ]
    assert max(counts) <= min(counts) + 1


def test_preconditioners_save_iterations():
    a = _coefficient(0, 66)
    matrix, load = five_point_matrix(a), five_point_load(a.shape, 1.0)
    keywords = {"rtol": 1e-8, "max_iterations": 1000}
    plain = conjugate_gradients(matrix, load, **keywords)
    diagonal = conjugate_gradients(matrix, load, **keywords, precondition=jacobi(matrix))
    _, fast = solve_iteratively(a, 1.0)
    assert plain.num_iterations > diagonal.num_iterations > 5 * fast.num_iterations
    for report in (plain, diagonal, fast):
        assert report.relative_residual < 2e-8


@given(st.integers(0, 2**31), st.integers(1, 6))
def test_conjugate_gradients_end_after_as_many_steps_as_there_are_eigenvalues(seed, num_values):
    rng = np.random.default_rng(seed)
    eigenvalues = np.repeat(np.arange(1.0, num_values + 1), 3)
    load = rng.standard_normal(len(eigenvalues))
    report = conjugate_gradients(
        diags_array(eigenvalues).tocsc(), load, rtol=1e-9, max_iterations=100
    )
    assert report.num_iterations <= num_values
    np.testing.assert_allclose(report.solution, load / eigenvalues, atol=1e-8)


def test_iterations_stop_when_told_and_say_how_far_they_came():
    a = _coefficient(1, 34)
    matrix, load = five_point_matrix(a), five_point_load(a.shape, 1.0)
    report = conjugate_gradients(matrix, load, rtol=1e-12, max_iterations=3)
    assert report.num_iterations == 3
    defect = np.linalg.norm(load - matrix @ report.solution) / np.linalg.norm(load)
    assert report.relative_residual == pytest.approx(defect)
    assert defect > 1e-3


def test_a_single_unknown_is_refused():
    with pytest.raises(ValueError, match="need 4 along each axis"):
        solve_directly(np.ones((3, 3)), 1.0)


def test_a_load_of_zero_needs_no_iteration():
    report = conjugate_gradients(
        five_point_matrix(np.ones((5, 5))), np.zeros(9), rtol=1e-8, max_iterations=10
    )
    assert report.num_iterations == 0
    assert report.relative_residual == 0.0


def test_coefficients_are_lognormal():
    logarithm = np.log(lognormal_coefficient(np.random.default_rng(2), 2000, 17))
    assert logarithm.mean() == pytest.approx(0.0, abs=0.05)
    assert logarithm.std() == pytest.approx(0.6, abs=0.03)
    # Twice the contrast doubles the logarithm.
    doubled = lognormal_coefficient(np.random.default_rng(2), 2000, 17, contrast=4.0)
    np.testing.assert_allclose(np.log(doubled), 2 * logarithm, atol=1e-12)

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from certisolve_zoo.directions.operator import FiniteVolumes
from certisolve_zoo.pdes.conjugate_gradients import conjugate_gradients, jacobi
from certisolve_zoo.pdes.finite_volumes import finite_volume_matrix, solve_cells_directly
from certisolve_zoo.pdes.incomplete_cholesky import incomplete_cholesky
from certisolve_zoo.pdes.multigrid import multigrid
from certisolve_zoo.pdes.poisson import (
    fast_poisson_in_cells,
    faulted_coefficient,
    random_sources,
)

sizes = st.integers(2, 9)


@settings(deadline=None)
@given(st.integers(0, 2**31), sizes, sizes)
def test_the_torch_operator_equals_the_symmetric_positive_matrix(seed, rows, columns):
    rng = np.random.default_rng(seed)
    a, x = np.exp(rng.standard_normal((2, 3, rows, columns)))
    product = FiniteVolumes()(torch.from_numpy(x), torch.from_numpy(a)).numpy()
    for sample in range(3):
        matrix = finite_volume_matrix(a[sample]).toarray()
        np.testing.assert_array_equal(matrix, matrix.T)
        assert np.linalg.eigvalsh(matrix).min() > 0
        # A few roundings of the largest term.
        scale = np.abs(matrix).max() * np.abs(x[sample]).max()
        expected = (matrix @ x[sample].ravel()).reshape(rows, columns)
        np.testing.assert_allclose(product[sample], expected, rtol=0, atol=1e-14 * scale)


def test_the_solution_is_of_second_order():
    errors = []
    for num_cells in (16, 32, 64):
        y, x = np.meshgrid(*2 * [(np.arange(num_cells) + 0.5) / num_cells], indexing="ij")
        a = np.exp(x - y)
        u = np.sin(np.pi * x) * np.sin(3 * np.pi * y)
        u_x = np.pi * np.cos(np.pi * x) * np.sin(3 * np.pi * y)
        u_y = 3 * np.pi * np.sin(np.pi * x) * np.cos(3 * np.pi * y)
        f = a * (10 * np.pi**2 * u - u_x + u_y)
        errors.append(np.abs(solve_cells_directly(a, f) - u).max())
    np.testing.assert_allclose(np.log2(np.divide(errors[:-1], errors[1:])), 2.0, atol=0.15)


def test_the_flux_through_layers_is_exact_where_the_coefficient_jumps():
    # Rows of cells without variation in x, far from its ends: a u' = q with a of 1 and 100.
    a = np.where(np.arange(8) < 4, 1.0, 100.0)[:, None] * np.ones(8)
    matrix = finite_volume_matrix(a).toarray().reshape(8, 8, 8, 8)
    along_y = matrix.sum(axis=3)[:, 4]  # horizontal fluxes of a row cancel
    resistance = np.cumsum(np.concatenate([[0.5], 0.5 / a[:-1, 0] + 0.5 / a[1:, 0]])) / 8
    flux = along_y @ resistance
    np.testing.assert_allclose(flux[:-1], 0.0, atol=1e-10)


@given(st.integers(0, 2**31), st.integers(1, 20))
def test_sine_transforms_invert_the_operator_with_a_constant_coefficient(seed, size):
    u = np.random.default_rng(seed).standard_normal((2, size, size))
    f = FiniteVolumes()(torch.from_numpy(u), torch.ones(2, size, size).double()).numpy()
    np.testing.assert_allclose(fast_poisson_in_cells(f), u, atol=1e-9)


def test_the_multigrid_cycle_is_symmetric_and_does_not_depend_on_the_grid():
    counts = []
    for num_cells in (16, 32, 64):
        a = faulted_coefficient(np.random.default_rng(0), 1, num_cells)[0]
        matrix = finite_volume_matrix(a)
        cycle = multigrid(matrix, num_cells)
        u, v = np.random.default_rng(1).standard_normal((2, a.size))
        assert u @ cycle(v) == pytest.approx(v @ cycle(u), rel=1e-9)
        report = conjugate_gradients(matrix, u, rtol=1e-8, max_iterations=100, precondition=cycle)
        counts.append(report.num_iterations)
    assert max(counts) <= 16


def test_incomplete_factors_keep_the_diagonal_and_save_iterations():
    a = faulted_coefficient(np.random.default_rng(0), 1, 16)[0]
    matrix = finite_volume_matrix(a)
    inverse = incomplete_cholesky(matrix, 16)
    factored = np.linalg.inv(np.stack([inverse(column) for column in np.eye(256)]))
    np.testing.assert_allclose(factored, factored.T, rtol=0, atol=1e-8)
    np.testing.assert_allclose(np.diag(factored), matrix.diagonal(), rtol=1e-10)
    load = np.random.default_rng(1).standard_normal(256)
    counts = [
        conjugate_gradients(
            matrix, load, rtol=1e-8, max_iterations=500, precondition=precondition
        ).num_iterations
        for precondition in (inverse, jacobi(matrix))
    ]
    assert 2 * counts[0] < counts[1]


def test_coefficients_jump_and_sources_are_of_three_sorts():
    a = faulted_coefficient(np.random.default_rng(0), 200, 16)
    contrast = a.max(axis=(1, 2)) / a.min(axis=(1, 2))
    assert 20 < np.median(contrast) < 80
    smooth, noise, wells = random_sources(np.random.default_rng(0), 3, 64)
    assert np.abs(np.diff(smooth)).mean() < 0.2 * np.abs(np.diff(noise)).mean()
    assert 8 <= np.count_nonzero(wells) <= 10
    for source in (smooth, noise, wells):
        assert np.mean(source**2) == pytest.approx(1.0)

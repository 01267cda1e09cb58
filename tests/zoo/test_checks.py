"""What looks at answers knows right from wrong."""

import numpy as np
import pytest
import torch

from certisolve_zoo.checks.conservation import MeanConservation
from certisolve_zoo.checks.darcy import DarcyResidual
from certisolve_zoo.pdes.darcy import HIGH, LOW, solve_darcy, two_phase_coefficient
from certisolve_zoo.pdes.five_point import five_point_matrix
from certisolve_zoo.records import WEIGHTS, load_model
from certisolve_zoo.specs import darcy2d_fno


@pytest.fixture(scope="module")
def problem():
    coefficient = two_phase_coefficient(np.random.default_rng(0), 1, 24)[0]
    return coefficient, solve_darcy(coefficient)


def residual(coefficient, pressure):
    return float(
        DarcyResidual()(torch.from_numpy(coefficient)[None], torch.from_numpy(pressure)[None])
    )


def test_the_solution_has_no_residual(problem):
    assert residual(*problem) < 1e-12
    assert residual(problem[0], np.zeros((24, 24))) == pytest.approx(1.0)


def test_the_residual_bounds_the_energy_of_the_error_from_both_sides(problem):
    coefficient, pressure = problem
    rng = np.random.default_rng(1)
    laplacian, matrix = five_point_matrix(np.ones((24, 24))), five_point_matrix(coefficient)
    load = np.full(22 * 22, 1 / 23**2)
    size = np.sqrt(load @ _solve(laplacian, load))
    for scale in (1e-4, 1e-2):
        error = np.pad(scale * rng.standard_normal((22, 22)), 1)
        inside = error[1:-1, 1:-1].ravel()
        energy = np.sqrt(inside @ (matrix @ inside))
        found = residual(coefficient, pressure + error) * size
        assert energy * np.sqrt(LOW) <= found * (1 + 1e-9)
        assert found <= energy * np.sqrt(HIGH) * (1 + 1e-9)


def test_the_boundary_is_taken_as_zero(problem):
    coefficient, pressure = problem
    shifted = pressure.copy()
    shifted[0] = 1.0
    assert residual(coefficient, shifted) == pytest.approx(
        residual(coefficient, pressure), abs=1e-12
    )


def test_a_mean_that_drifts_is_found_in_whatever_frame():
    u0 = torch.rand(2, 16, dtype=torch.float64)
    frames = torch.stack([u0, u0.flip(1), u0], dim=1)
    assert MeanConservation(frames=True)(u0, frames).max() < 1e-12
    frames[1, 1] += 0.1
    defect = MeanConservation(frames=True)(u0, frames)
    assert defect[0] < 1e-12
    assert defect[1] == pytest.approx(0.1 / float(frames[1, 1].square().mean().sqrt()))


def test_the_residual_of_a_model_tells_fields_it_knows_from_others():
    # The figures of docs/models.md.
    model = load_model(darcy2d_fno.SPEC, WEIGHTS)
    (known,) = darcy2d_fno.examples(8)[0]
    independent = torch.where(torch.rand(known.shape) < 0.5, LOW, HIGH)
    with torch.inference_mode():
        of_known, of_independent = (DarcyResidual()(a, model(a)) for a in (known, independent))
    assert 0.06 < of_known.mean() < 0.11
    assert 0.2 < of_independent.mean() < 0.3


def _solve(matrix, load):
    from scipy.sparse.linalg import splu

    return splu(matrix).solve(load)

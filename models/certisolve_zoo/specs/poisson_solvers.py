"""Classical solvers of the equations that `poisson-dcdm` solves."""

from collections.abc import Callable

import numpy as np
from scipy.sparse import csc_array

from certisolve_zoo.pdes.conjugate_gradients import Iterated, conjugate_gradients, jacobi
from certisolve_zoo.pdes.finite_volumes import finite_volume_matrix, solve_cells_directly
from certisolve_zoo.pdes.incomplete_cholesky import incomplete_cholesky
from certisolve_zoo.pdes.multigrid import multigrid
from certisolve_zoo.pdes.poisson import fast_poisson_in_cells
from certisolve_zoo.spec import ClassicalSolver

Inverse = Callable[[np.ndarray], np.ndarray]
Preconditioner = Callable[[csc_array, np.ndarray], Inverse]
MAX_ITERATIONS = 1000
_ONE_BY_ONE = (
    "One problem after the other on one core, set-up included. The network needs the fewest "
    "iterations, but not the least time: each of its own costs many of the classical ones"
)


def by_diagonal(matrix: csc_array, a: np.ndarray) -> Inverse:
    """Jacobi."""
    del a
    return jacobi(matrix)


def by_incomplete_cholesky(matrix: csc_array, a: np.ndarray) -> Inverse:
    """IC(0)."""
    return incomplete_cholesky(matrix, a.shape[1])


def by_fast_poisson(matrix: csc_array, a: np.ndarray) -> Inverse:
    """Concus & Golub (1973): the solution for a = 1 between divisions by √a."""
    del matrix
    root = np.sqrt(a)

    def precondition(residual: np.ndarray) -> np.ndarray:
        return np.asarray((fast_poisson_in_cells(residual.reshape(a.shape) / root) / root).ravel())

    return precondition


def by_multigrid(matrix: csc_array, a: np.ndarray) -> Inverse:
    """One V(2,2)-cycle."""
    return multigrid(matrix, len(a))


PRECONDITIONERS: dict[str, Preconditioner] = {
    "Jacobi": by_diagonal,
    "incomplete Cholesky": by_incomplete_cholesky,
    "Concus-Golub, sine transforms": by_fast_poisson,
    "multigrid V(2,2)-cycle": by_multigrid,
}


def iterate(
    a: np.ndarray, f: np.ndarray, preconditioner: Preconditioner, tolerance: float
) -> Iterated:
    """Preconditioned conjugate gradients on one problem."""
    matrix = finite_volume_matrix(a)
    return conjugate_gradients(
        matrix,
        f.ravel(),
        rtol=tolerance,
        max_iterations=MAX_ITERATIONS,
        precondition=preconditioner(matrix, a),
    )


def directly(a: np.ndarray, f: np.ndarray) -> np.ndarray:
    """Sparse factorisations, one per coefficient."""
    return np.stack([solve_cells_directly(*problem) for problem in zip(a, f, strict=True)])


def ladder(tolerances: tuple[float, ...]) -> tuple[ClassicalSolver, ...]:
    """Conjugate gradients with every preconditioner to every tolerance, then the direct solver."""
    iterative = [
        ClassicalSolver(
            name=f"conjugate gradients to {tolerance:g}, {name}, numpy and scipy, float64",
            grid="that of the model",
            solve=_solver(preconditioner, tolerance),
            remark=f"{_ONE_BY_ONE}. Tolerances are of the residual, errors those of u",
        )
        for tolerance in tolerances
        for name, preconditioner in PRECONDITIONERS.items()
    ]
    direct = ClassicalSolver(
        name="sparse LU (SuperLU), float64",
        grid="that of the model",
        solve=directly,
        remark=f"{_ONE_BY_ONE}. Errors are measured against this very solver",
    )
    return (*iterative, direct)


def _solver(preconditioner: Preconditioner, tolerance: float) -> Callable[..., np.ndarray]:
    def solve(a: np.ndarray, f: np.ndarray) -> np.ndarray:
        problems = zip(a, f, strict=True)
        solutions = [iterate(*problem, preconditioner, tolerance).solution for problem in problems]
        return np.stack(solutions).reshape(f.shape)

    return solve

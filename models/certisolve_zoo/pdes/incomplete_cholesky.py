"""Incomplete factors of a five-point matrix, a preconditioner for conjugate gradients.

    M = (P + L) P⁻¹ (P + L)',    diagonal of M = diagonal of A

with L the lower triangle of A and P diagonal: IC(0) of Meijerink & van der Vorst (1977).
"""

from collections.abc import Callable

import numpy as np
from scipy.sparse import csc_array, diags_array
from scipy.sparse.linalg import splu


def incomplete_cholesky(matrix: csc_array, width: int) -> Callable[[np.ndarray], np.ndarray]:
    """The inverse of M, symmetric and positive definite.

    Args:
        matrix: A, of five diagonals.
        width: unknowns in a row of the grid.
    """
    beside, below = matrix.diagonal(1), matrix.diagonal(width)
    pivots = _pivots(matrix.diagonal(), beside, below)
    # A triangle is its own factor: nothing is filled in, and `solve` is a substitution.
    triangle = diags_array([pivots, beside, below], offsets=[0, -1, -width]).tocsc()
    factors = splu(
        triangle,
        permc_spec="NATURAL",
        diag_pivot_thresh=0.0,
        options={"SymmetricMode": True},
    )
    return lambda residual: np.asarray(factors.solve(pivots * factors.solve(residual), trans="T"))


def _pivots(diagonal: np.ndarray, beside: np.ndarray, below: np.ndarray) -> np.ndarray:
    """P, row after row: each takes from its two later neighbours what elimination would."""
    pivots, width = diagonal.tolist(), len(diagonal) - len(below)
    beside_squared, below_squared = (beside**2).tolist(), (below**2).tolist()
    for row in range(len(pivots) - 1):
        pivots[row + 1] -= beside_squared[row] / pivots[row]
        if row + width < len(pivots):
            pivots[row + width] -= below_squared[row] / pivots[row]
    return np.array(pivots)

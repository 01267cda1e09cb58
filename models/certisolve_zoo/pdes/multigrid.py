"""One V-cycle of multigrid on cells, a preconditioner for conjugate gradients.

Blocks of 2x2 cells make a coarser cell (Wesseling, "An Introduction to Multigrid Methods", 1992).
Corrections are constant on a block, hence the coarse matrix is half of the Galerkin product, which
is what two-point fluxes at twice the distance amount to. As many steps of damped Jacobi before as
after keep the cycle symmetric.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.sparse import csc_array, csr_array, kron

DAMPING = 0.8
SMOOTHINGS = 2
COARSEST = 4


class Level(NamedTuple):
    """A matrix, its inverse diagonal times the damping, and the way to the coarser level."""

    matrix: csr_array
    relaxation: np.ndarray
    restriction: csr_array
    prolongation: csr_array


def multigrid(matrix: csc_array, num_cells: int) -> Callable[[np.ndarray], np.ndarray]:
    """An approximate inverse, symmetric and positive definite.

    Args:
        matrix: of N x N cells, ordered row by row.
        num_cells: N, a power of two.
    """
    levels, current = [], matrix.tocsr()
    while num_cells > COARSEST:
        restriction = _restriction(num_cells)
        prolongation = restriction.T.tocsr()
        levels.append(Level(current, DAMPING / current.diagonal(), restriction, prolongation))
        current, num_cells = 0.5 * (restriction @ current @ prolongation), num_cells // 2
    inverse = np.linalg.inv(current.toarray())
    return lambda residual: _cycle(levels, inverse, residual)


def _cycle(levels: list[Level], coarsest: np.ndarray, load: np.ndarray) -> np.ndarray:
    if not levels:
        return np.asarray(coarsest @ load)
    level, *coarser = levels
    solution = level.relaxation * load
    for _ in range(SMOOTHINGS - 1):
        solution += level.relaxation * (load - level.matrix @ solution)
    restricted = level.restriction @ (load - level.matrix @ solution)
    solution += level.prolongation @ _cycle(coarser, coarsest, restricted)
    for _ in range(SMOOTHINGS):
        solution += level.relaxation * (load - level.matrix @ solution)
    return np.asarray(solution)


def _restriction(num_cells: int) -> csr_array:
    """Sums over blocks of 2x2 cells."""
    rows = np.repeat(np.arange(num_cells // 2), 2)
    pairs = csr_array((np.ones(num_cells), (rows, np.arange(num_cells))))
    return csr_array(kron(pairs, pairs, format="csr"))

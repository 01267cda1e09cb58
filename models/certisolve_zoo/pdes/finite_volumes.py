"""Two-point fluxes for -∇·(a ∇u) on the unit square with u = 0 on the boundary.

Grid: N x N cells with centres ((i + 1/2)/N, (j + 1/2)/N); a, u and f are values of cells. The flux
through a face is the difference of the two cells' u times the harmonic mean of their a, which is
exact in one dimension where a jumps at the face; at the boundary, half a cell away, it is 2 a u.
Entries are those of the operator, not scaled by h². The matrix is symmetric and positive definite
where a > 0. Second order in h for smooth a. See Aziz & Settari, "Petroleum Reservoir Simulation",
1979.
"""

import numpy as np
from jaxtyping import Float64
from scipy.sparse import csc_array, diags_array
from scipy.sparse.linalg import splu


def transmissibilities(
    coefficient: Float64[np.ndarray, "y x"],
) -> tuple[Float64[np.ndarray, "y_faces x"], Float64[np.ndarray, "y x_faces"]]:
    """What multiplies the difference of u across each face, in y and in x, boundary included."""
    return _along_y(coefficient), _along_y(coefficient.T).T


def finite_volume_matrix(coefficient: Float64[np.ndarray, "y x"]) -> csc_array:
    """The operator as a sparse matrix, cells ordered row by row."""
    rows, columns = coefficient.shape
    vertical, horizontal = transmissibilities(coefficient)
    vertical, horizontal = rows**2 * vertical, columns**2 * horizontal
    diagonal = vertical[1:] + vertical[:-1] + horizontal[:, 1:] + horizontal[:, :-1]
    # The last face of each row couples to the boundary, not to the next row's first cell.
    east = horizontal[:, 1:].copy()
    east[:, -1] = 0.0
    beside, below = -east.ravel()[:-1], -vertical[1:-1].ravel()
    return diags_array(
        [diagonal.ravel(), beside, beside, below, below], offsets=[0, 1, -1, columns, -columns]
    ).tocsc()


def solve_cells_directly(
    coefficient: Float64[np.ndarray, "y x"], source: Float64[np.ndarray, "*rhs y x"]
) -> Float64[np.ndarray, "*rhs y x"]:
    """The u of -∇·(a ∇u) = f, by one sparse factorisation for any number of sources."""
    factors = splu(
        finite_volume_matrix(coefficient),
        permc_spec="MMD_AT_PLUS_A",
        options={"SymmetricMode": True},
    )
    loads = source.reshape(-1, coefficient.size)
    return np.asarray(factors.solve(loads.T).T.reshape(source.shape))


def _along_y(coefficient: np.ndarray) -> np.ndarray:
    between = 2 / (1 / coefficient[1:] + 1 / coefficient[:-1])
    return np.concatenate([2 * coefficient[:1], between, 2 * coefficient[-1:]])

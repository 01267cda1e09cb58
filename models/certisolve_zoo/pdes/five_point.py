"""Five-point differences for -∇·(a ∇u) on the unit square with u = 0 on the boundary.

Grid: N x N nodes (i/(N-1), j/(N-1)), both ends included; the unknowns are the (N-2)² inside. The
coefficient of a face between two nodes is the mean of theirs. Everything here is h² times the
operator, h = 1/(N-1), so that entries do not depend on the grid. The matrix is symmetric and
positive definite where a > 0.
"""

import numpy as np
from jaxtyping import Float64
from scipy.sparse import csc_array, diags_array
from scipy.sparse.linalg import splu

FEWEST_NODES = 4


def faces(
    coefficient: Float64[np.ndarray, "*sample y x"],
) -> tuple[
    Float64[np.ndarray, "*sample y_faces x_inner"], Float64[np.ndarray, "*sample y_inner x_faces"]
]:
    """Coefficients between neighbours in y and in x, N-1 of them on each of N-2 inner lines."""
    vertical = 0.5 * (coefficient[..., 1:, 1:-1] + coefficient[..., :-1, 1:-1])
    horizontal = 0.5 * (coefficient[..., 1:-1, 1:] + coefficient[..., 1:-1, :-1])
    return vertical, horizontal


def five_point_product(
    coefficient: Float64[np.ndarray, "*sample y x"],
    values: Float64[np.ndarray, "*sample y_inner x_inner"],
) -> Float64[np.ndarray, "*sample y_inner x_inner"]:
    """The operator applied to values inside, without its matrix; for many samples at once."""
    vertical, horizontal = faces(coefficient)
    edges = [(0, 0)] * (values.ndim - 2)
    down = vertical * np.diff(np.pad(values, [*edges, (1, 1), (0, 0)]), axis=-2)
    right = horizontal * np.diff(np.pad(values, [*edges, (0, 0), (1, 1)]), axis=-1)
    return np.asarray(-np.diff(down, axis=-2) - np.diff(right, axis=-1))


def five_point_matrix(coefficient: Float64[np.ndarray, "y x"]) -> csc_array:
    """The operator as a sparse matrix, nodes inside ordered row by row."""
    if min(coefficient.shape) < FEWEST_NODES:
        raise ValueError(f"{coefficient.shape} nodes: need {FEWEST_NODES} along each axis")
    vertical, horizontal = faces(coefficient)
    diagonal = vertical[1:] + vertical[:-1] + horizontal[:, 1:] + horizontal[:, :-1]
    # The last face of each row couples to the boundary, not to the next row's first node.
    east = horizontal[:, 1:].copy()
    east[:, -1] = 0.0
    beside, below = -east.ravel()[:-1], -vertical[1:-1].ravel()
    width = diagonal.shape[1]
    return diags_array(
        [diagonal.ravel(), beside, beside, below, below], offsets=[0, 1, -1, width, -width]
    ).tocsc()


def five_point_load(
    shape: tuple[int, ...], source: Float64[np.ndarray, "y x"] | float
) -> Float64[np.ndarray, " unknown"]:
    """The right side h² f, in the order of the matrix; shape is that of the nodes."""
    return np.asarray(np.broadcast_to(source, shape)[1:-1, 1:-1].ravel() / (shape[0] - 1) ** 2)


def solve_directly(
    coefficient: Float64[np.ndarray, "y x"], source: Float64[np.ndarray, "y x"] | float
) -> Float64[np.ndarray, "y x"]:
    """The u of -∇·(a ∇u) = f at all nodes, by a sparse direct solve."""
    factors = splu(
        five_point_matrix(coefficient),
        permc_spec="MMD_AT_PLUS_A",
        options={"SymmetricMode": True},
    )
    solution = np.zeros_like(coefficient)
    load = five_point_load(coefficient.shape, source)
    solution[1:-1, 1:-1] = factors.solve(load).reshape(solution[1:-1, 1:-1].shape)
    return solution

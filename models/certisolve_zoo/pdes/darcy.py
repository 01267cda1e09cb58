"""Steady Darcy flow through a medium of two permeabilities.

    -∇·(a ∇u) = f on (0, 1)²,   u = 0 on the boundary

Grid: N x N nodes (i/(N-1), j/(N-1)), both ends included. The benchmark (Li et al., 2020) has f = 1
and a = 12 where a Gaussian field is >= 0, else 3. Second order for smooth a, first order in h where
a jumps. Good values: N = 211 for reference solutions.
"""

import numpy as np
from jaxtyping import Float64
from scipy.sparse import csc_array, diags_array
from scipy.sparse.linalg import splu

from .random_fields import neumann_grf

LOW, HIGH = 3.0, 12.0
REFERENCE_POINTS = 211


def two_phase_coefficient(
    rng: np.random.Generator, num_samples: int, num_points: int
) -> Float64[np.ndarray, "sample y x"]:
    """Permeability: 12 where a Gaussian field (α = 2, τ = 3) is >= 0, else 3, at N x N nodes."""
    return np.where(neumann_grf(rng, num_samples, num_points) >= 0, HIGH, LOW)


def solve_darcy(
    coefficient: Float64[np.ndarray, "y x"], source: Float64[np.ndarray, "y x"] | float = 1.0
) -> Float64[np.ndarray, "y x"]:
    """The pressure u at the nodes, by five-point finite differences and a sparse direct solve.

    The permeability of a face is the arithmetic mean of its two nodes.

    Args:
        coefficient: a at the nodes, positive.
        source: f, one number or a value at each node.
    """
    num_points = coefficient.shape[0]
    matrix = _five_point_matrix(coefficient)
    load = np.broadcast_to(source, coefficient.shape)[1:-1, 1:-1]
    factors = splu(matrix, permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True})
    pressure = np.zeros_like(coefficient)
    pressure[1:-1, 1:-1] = factors.solve(load.ravel() / (num_points - 1) ** 2).reshape(load.shape)
    return pressure


def sample_darcy(seed: int, strides: tuple[int, ...], index: int) -> dict[str, np.ndarray]:
    """Permeability and pressure on 211² nodes, kept at every stride-th node in float32.

    Args:
        seed: of the set of samples.
        strides: divisors of 210.
        index: of the sample in its set; sample and set are reproducible one by one.

    Returns:
        `a<N>` and `u<N>` for the N x N nodes of each stride.
    """
    coefficient = two_phase_coefficient(np.random.default_rng([seed, index]), 1, REFERENCE_POINTS)
    fields = {"a": coefficient[0], "u": solve_darcy(coefficient[0])}
    return {
        f"{name}{(REFERENCE_POINTS - 1) // stride + 1}": field[::stride, ::stride].astype(
            np.float32
        )
        for name, field in fields.items()
        for stride in strides
    }


def _five_point_matrix(coefficient: Float64[np.ndarray, "y x"]) -> csc_array:
    """h² times the operator on the interior nodes, ordered row by row."""
    vertical = 0.5 * (coefficient[1:, 1:-1] + coefficient[:-1, 1:-1])
    horizontal = 0.5 * (coefficient[1:-1, 1:] + coefficient[1:-1, :-1])
    diagonal = vertical[1:] + vertical[:-1] + horizontal[:, 1:] + horizontal[:, :-1]
    # The last face of each row couples to the boundary, not to the next row's first node.
    east = horizontal[:, 1:].copy()
    east[:, -1] = 0.0
    beside, below = -east.ravel()[:-1], -vertical[1:-1].ravel()
    width = diagonal.shape[1]
    return diags_array(
        [diagonal.ravel(), beside, beside, below, below], offsets=[0, 1, -1, width, -width]
    ).tocsc()

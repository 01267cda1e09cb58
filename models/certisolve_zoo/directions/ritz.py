"""Right-hand sides that hold all that a spectrum has, from the process of Lanczos (1950).

Kaneda et al., "DCDM", 2023: combinations of Ritz vectors with normal coefficients, those of the
lower half of the Ritz values, and of a few more, nine times as large.
"""

import numpy as np
from jaxtyping import Float64
from scipy.sparse import csc_array

NUM_STEPS = 160
LOW_WEIGHT = 9.0
# In the paper 500 of 10,000.
EXTRA_FRACTION = 0.05


def ritz_vectors(
    matrix: csc_array, rng: np.random.Generator, num_steps: int = NUM_STEPS
) -> tuple[Float64[np.ndarray, " step"], Float64[np.ndarray, "step unknown"]]:
    """Approximate eigenvalues, ascending, and unit eigenvectors, of a symmetric matrix.

    Args:
        matrix: A.
        rng: of the vector to start from.
        num_steps: of Lanczos, each orthogonalised twice against all before.
    """
    basis = np.zeros((num_steps, matrix.shape[0]))
    diagonal, beside = np.zeros(num_steps), np.zeros(num_steps)
    vector = rng.standard_normal(matrix.shape[0])
    vector /= np.linalg.norm(vector)
    for step in range(num_steps):
        basis[step] = vector
        vector = matrix @ vector
        diagonal[step] = vector @ basis[step]
        for _ in range(2):
            vector -= basis[: step + 1].T @ (basis[: step + 1] @ vector)
        beside[step] = np.linalg.norm(vector)
        vector /= beside[step]
    tridiagonal = np.diag(diagonal) + np.diag(beside[:-1], 1) + np.diag(beside[:-1], -1)
    values, rotation = np.linalg.eigh(tridiagonal)
    return values, rotation.T @ basis


def ritz_right_hand_sides(
    matrix: csc_array, rng: np.random.Generator, num_samples: int
) -> Float64[np.ndarray, "sample unknown"]:
    """Random combinations of norm 1."""
    values, vectors = ritz_vectors(matrix, rng)
    weights = np.ones(len(values))
    weights[: round((0.5 + EXTRA_FRACTION) * len(values))] = LOW_WEIGHT
    combined = weights * rng.standard_normal((num_samples, len(values))) @ vectors
    return np.asarray(combined / np.linalg.norm(combined, axis=1, keepdims=True))

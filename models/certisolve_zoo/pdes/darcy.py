"""Steady Darcy flow through a medium of two permeabilities.

    -∇·(a ∇u) = f on (0, 1)²,   u = 0 on the boundary

Grid: N x N nodes (i/(N-1), j/(N-1)), both ends included. The benchmark (Li et al., 2020) has f = 1
and a = 12 where a Gaussian field is >= 0, else 3. Second order for smooth a, first order in h where
a jumps. Good values: N = 211 for reference solutions.
"""

import numpy as np
from jaxtyping import Float64

from .five_point import solve_directly
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
    return solve_directly(coefficient, source)


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

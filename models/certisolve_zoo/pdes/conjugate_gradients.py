"""Conjugate gradients for symmetric positive definite systems (Hestenes & Stiefel, 1952)."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64
from scipy.sparse import csc_array


class Iterated(NamedTuple):
    """What an iteration found.

    Attributes:
        solution: x.
        num_iterations: products with the matrix, less the one for the residual at the end.
        relative_residual: |b - A x| / |b|, computed from x.
    """

    solution: Float64[np.ndarray, " unknown"]
    num_iterations: int
    relative_residual: float


def conjugate_gradients(
    matrix: csc_array,
    load: Float64[np.ndarray, " unknown"],
    *,
    rtol: float,
    max_iterations: int,
    precondition: Callable[[np.ndarray], np.ndarray] = np.copy,
) -> Iterated:
    """The x of A x = b, from x = 0 until |b - A x| <= rtol |b|.

    Args:
        matrix: A, symmetric and positive definite.
        load: b.
        rtol: of the residual that the recursion carries.
        max_iterations: the result is returned as it is after so many.
        precondition: an approximate inverse of A, symmetric and positive definite.
    """
    solution, residual = np.zeros_like(load), load.copy()
    direction = preconditioned = precondition(residual)
    product, iteration = residual @ preconditioned, 0
    target = rtol * np.linalg.norm(load)
    while np.linalg.norm(residual) > target and iteration < max_iterations:
        image = matrix @ direction
        length = product / (direction @ image)
        solution += length * direction
        residual -= length * image
        preconditioned = precondition(residual)
        product, before = residual @ preconditioned, product
        direction = preconditioned + product / before * direction
        iteration += 1
    return Iterated(solution, iteration, _relative_residual(matrix, solution, load))


def jacobi(matrix: csc_array) -> Callable[[np.ndarray], np.ndarray]:
    """Division by the diagonal, the simplest of preconditioners."""
    inverse = 1 / matrix.diagonal()
    return lambda residual: np.asarray(inverse * residual)


def _relative_residual(matrix: csc_array, solution: np.ndarray, load: np.ndarray) -> float:
    size = np.linalg.norm(load)
    return float(np.linalg.norm(load - matrix @ solution) / size) if size else 0.0

"""Linear terms that couple neighbours along one axis, as finite differences do."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from scipy.linalg.lapack import dgtsv

from .problem import AbstractLinear


@dataclass(frozen=True)
class Tridiagonal(AbstractLinear):
    """(L u)_i = left_i u_(i-1) + centre_i u_i + right_i u_(i+1); no neighbours beyond the ends."""

    left: Float64[np.ndarray, " x"]
    centre: Float64[np.ndarray, " x"]
    right: Float64[np.ndarray, " x"]

    def apply(self, state: Float64[np.ndarray, "sample x"]) -> Float64[np.ndarray, "sample x"]:
        applied: np.ndarray = self.centre * state
        applied[:, 1:] += self.left[1:] * state[:, :-1]
        applied[:, :-1] += self.right[:-1] * state[:, 1:]
        return applied

    def solve_shifted(
        self,
        diagonal: Float64[np.ndarray, "sample x"],
        dt: float,
        load: Float64[np.ndarray, "sample x"],
    ) -> Float64[np.ndarray, "sample x"]:
        # All samples are one long system without couplings across their ends: one call of LAPACK.
        left, right = -dt * self.left, -dt * self.right
        left[0] = right[-1] = 0.0
        below = np.tile(left, len(load))[1:]
        above = np.tile(right, len(load))[:-1]
        centre = np.broadcast_to(diagonal - dt * self.centre, load.shape).ravel()
        *_, solution, info = dgtsv(below, centre, above, load.ravel())
        if info:
            raise np.linalg.LinAlgError(f"row {info} of the implicit step is singular: halve dt")
        return np.asarray(solution.reshape(load.shape))

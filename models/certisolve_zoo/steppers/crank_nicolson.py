"""The implicit trapezoidal rule (Crank & Nicolson, 1947) with Newton's method."""

from typing import ClassVar

import numpy as np
from jaxtyping import Inexact

from .base import AbstractStepper
from .problem import AbstractLinear, Semilinear

MAX_ITERATIONS = 20
TOLERANCE = 1e-12


class CrankNicolson(AbstractStepper):
    """u+ = u + dt/2 (F(u) + F(u+)) with F(u) = L u + N(u), solved to 1e-12.

    Stable for any dt; modes with dt·|L| >> 1 decay slowly and change sign at every step.
    """

    order: ClassVar[int] = 2

    def __init__(self, problem: Semilinear[AbstractLinear], dt: float) -> None:
        if problem.slope is None:
            raise ValueError("an implicit step needs the slope of the nonlinear term")
        self._vector_field, self._linear = problem.vector_field, problem.linear
        self._slope = problem.slope
        self._dt = dt

    def step(self, state: Inexact[np.ndarray, "sample ..."]) -> Inexact[np.ndarray, "sample ..."]:
        half = self._dt / 2
        explicit = state + half * self._vector_field(state)
        solution = state
        for _ in range(MAX_ITERATIONS):
            defect = explicit - solution + half * self._vector_field(solution)
            update = self._linear.solve_shifted(1 - half * self._slope(solution), half, defect)
            solution = solution + update
            if np.abs(update).max() <= TOLERANCE * (1 + np.abs(solution).max()):
                return np.asarray(solution)
        raise FloatingPointError("Newton's method did not converge: shorten dt")

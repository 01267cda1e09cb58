"""The classical Runge-Kutta method (Kutta, 1901), for problems that are not stiff."""

from typing import ClassVar

import numpy as np
from jaxtyping import Inexact

from .base import AbstractStepper
from .problem import AbstractLinear, Semilinear


class RungeKutta4(AbstractStepper):
    """Explicit; stable while dt times the eigenvalues stays within about 2.8."""

    order: ClassVar[int] = 4

    def __init__(self, problem: Semilinear[AbstractLinear], dt: float) -> None:
        self._vector_field = problem.vector_field
        self._dt = dt

    def step(self, state: Inexact[np.ndarray, "sample ..."]) -> Inexact[np.ndarray, "sample ..."]:
        k1 = self._vector_field(state)
        k2 = self._vector_field(state + self._dt / 2 * k1)
        k3 = self._vector_field(state + self._dt / 2 * k2)
        k4 = self._vector_field(state + self._dt * k3)
        return np.asarray(state + self._dt / 6 * (k1 + 2 * (k2 + k3) + k4))

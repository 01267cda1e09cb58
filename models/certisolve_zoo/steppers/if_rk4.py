"""Runge-Kutta with an integrating factor, for diffusion with weak nonlinearity."""

from typing import ClassVar

import numpy as np
from jaxtyping import Inexact

from .base import AbstractStepper
from .problem import Diagonal, Semilinear


class IntegratingFactorRK4(AbstractStepper):
    """Classical Runge-Kutta for v = exp(-tL) u (Trefethen, "Spectral Methods in MATLAB", 2000).

    The linear term is exact and sets no limit to dt. Fixed points are not preserved: where N
    balances a stiff L u, `ExponentialRK4` is more accurate (Kassam & Trefethen, 2005).
    """

    order: ClassVar[int] = 4

    def __init__(self, problem: Semilinear[Diagonal], dt: float) -> None:
        self._nonlinear = problem.nonlinear
        self._dt = dt
        self._half = np.exp(dt / 2 * problem.linear.eigenvalues)
        self._full = self._half**2

    def step(self, state: Inexact[np.ndarray, "sample ..."]) -> Inexact[np.ndarray, "sample ..."]:
        dt, half = self._dt, self._half
        k1 = self._nonlinear(state)
        carried = half * state
        k2 = self._nonlinear(carried + dt / 2 * half * k1)
        k3 = self._nonlinear(carried + dt / 2 * k2)
        k4 = self._nonlinear(half * (carried + dt * k3))
        k2 += k3
        return np.asarray(self._full * (state + dt / 6 * k1) + dt / 3 * half * k2 + dt / 6 * k4)

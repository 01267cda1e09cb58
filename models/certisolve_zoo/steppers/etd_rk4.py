"""Exponential time differencing of fourth order, for stiff linear terms."""

from collections.abc import Callable
from typing import ClassVar

import numpy as np
from jaxtyping import Inexact

from .base import AbstractStepper
from .problem import Diagonal, Semilinear

CONTOUR_POINTS = 32


class ExponentialRK4(AbstractStepper):
    """ETDRK4 (Cox & Matthews, J. Comput. Phys. 176, 2002) with coefficients from contours.

    The coefficients cancel where dt·L is small. They are means over a circle of radius 1 about each
    dt·L instead (Kassam & Trefethen, SIAM J. Sci. Comput. 26, 2005), accurate to 1e-15.
    """

    order: ClassVar[int] = 4

    def __init__(self, problem: Semilinear[Diagonal], dt: float) -> None:
        self._nonlinear = problem.nonlinear
        z = dt * problem.linear.eigenvalues
        self._half, self._full = np.exp(z / 2), np.exp(z)
        self._stage = dt * _contour_mean(z, lambda z: (np.exp(z / 2) - 1) / z)
        self._first = dt * _contour_mean(
            z, lambda z: (-4 - z + np.exp(z) * (4 - 3 * z + z**2)) / z**3
        )
        self._middle = dt * _contour_mean(z, lambda z: 2 * (2 + z + np.exp(z) * (z - 2)) / z**3)
        self._last = dt * _contour_mean(
            z, lambda z: (-4 - 3 * z - z**2 + np.exp(z) * (4 - z)) / z**3
        )

    def step(self, state: Inexact[np.ndarray, "sample ..."]) -> Inexact[np.ndarray, "sample ..."]:
        at_start = self._nonlinear(state)
        carried = self._half * state
        a = carried + self._stage * at_start
        at_a = self._nonlinear(a)
        at_b = self._nonlinear(carried + self._stage * at_a)
        at_c = self._nonlinear(self._half * a + self._stage * (2 * at_b - at_start))
        at_a += at_b
        return np.asarray(
            self._full * state + self._first * at_start + self._middle * at_a + self._last * at_c
        )


def _contour_mean(z: np.ndarray, function: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """The entire function at z, by Cauchy's formula."""
    angles = 2j * np.pi * (np.arange(CONTOUR_POINTS) + 0.5) / CONTOUR_POINTS
    values = function(z[..., None] + np.exp(angles)).mean(axis=-1)
    return np.asarray(values if np.iscomplexobj(z) else values.real)

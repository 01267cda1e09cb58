"""Coefficients of explicit Runge-Kutta methods."""

from dataclasses import dataclass
from fractions import Fraction

Coefficient = Fraction | float
Row = tuple[Coefficient, ...]


@dataclass(frozen=True)
class Tableau:
    """k_i = f(t + c_i dt, y + dt sum_j a_ij k_j), y' = y + dt sum_i b_i k_i.

    One more slope, k = f(t + dt, y'), ends every step and begins the next one.

    Args:
        c: nodes, the first of which is 0.
        a: rows of stages 2, 3, ...
        b: weights.
        error: weights of the local error, the slope at the end last; empty for fixed steps.
        bubble: weights of the quartic part of the interpolant (see `dense`), likewise.
        stable: largest stable |dt lambda|, as used to tell stiffness.
    """

    c: Row
    a: tuple[Row, ...]
    b: Row
    error: Row = ()
    bubble: Row = ()
    stable: float | None = None

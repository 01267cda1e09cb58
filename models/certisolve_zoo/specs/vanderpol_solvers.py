"""Classical integrators of Van der Pol's oscillator, for comparison: they know the equation."""

from collections.abc import Sequence
from functools import partial

import numpy as np

from certisolve_zoo.pdes.vanderpol import Method, solve_vanderpol
from certisolve_zoo.spec import ClassicalSolver

_REMARK = (
    "Integrates the true field, of a dozen operations; the time of the model is that of LSODA over "
    "its network, one sample by another. Use the model to study neural ODEs and their integration "
    "in batches, not for speed"
)
_LADDER: tuple[tuple[Method, str, tuple[float, ...]], ...] = (
    ("LSODA", "Adams and BDF, switched by stiffness", (1e-3, 1e-4, 1e-5, 1e-6, 1e-7)),
    ("RK45", "Dormand-Prince 5(4)", (1e-4, 1e-5)),
    ("Radau", "Radau IIA of order 5", (1e-3, 1e-4, 1e-5)),
)


def solvers(t: Sequence[float]) -> tuple[ClassicalSolver, ...]:
    """The ladder: three methods of scipy, each at several tolerances.

    Args:
        t: times of the answer.
    """
    return tuple(
        ClassicalSolver(
            name=f"{words} (scipy {method}), float64",
            grid=f"steps of its own, rtol = {rtol:g}, atol = {0.1 * rtol:g}",
            solve=partial(_solve, t=np.array(t), method=method, rtol=rtol),
            remark=_REMARK,
        )
        for method, words, tolerances in _LADDER
        for rtol in tolerances
    )


def _solve(
    y0: np.ndarray, mu: np.ndarray, *, t: np.ndarray, method: Method, rtol: float
) -> np.ndarray:
    return solve_vanderpol(
        y0.astype(np.float64), mu.astype(np.float64), t, method=method, rtol=rtol
    )

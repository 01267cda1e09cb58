"""The oscillator of Van der Pol in Liénard's coordinates, from gentle to stiff.

    x' = μ (x - x³/3 - y),   y' = x / μ

One orbit attracts all others but the origin. For μ of about 1 it is round and takes 2π; for large
μ states creep along y = x - x³/3, on which x' is about μ² slower than across, and jump at
x = ±1, with a period of about (3 - 2 ln 2) μ (Liénard, Étude des oscillations entretenues, Revue
générale de l'électricité 23, 1928; Hairer and Wanner, Solving ODEs II, 1996, IV.1). Good values: μ
from 0.5 to 50, |x|, |y| <= 2.5 at the start; all states then stay within |x| <= 2.5, |y| <= 5.5.
"""

from typing import Literal

import numpy as np
from jaxtyping import Float64
from scipy.integrate import solve_ivp

Method = Literal["RK45", "DOP853", "Radau", "BDF", "LSODA"]
_EXPLICIT = ("RK45", "DOP853")
_ATOL_PER_RTOL = 0.1


def slopes(
    state: Float64[np.ndarray, "*sample 2"], mu: float | Float64[np.ndarray, "*sample"]
) -> Float64[np.ndarray, "*sample 2"]:
    """The time derivative of (x, y)."""
    x, y = state[..., 0], state[..., 1]
    return np.stack([mu * (x - x**3 / 3 - y), x / mu], axis=-1)


def solve_vanderpol(
    y0: Float64[np.ndarray, "sample 2"],
    mu: Float64[np.ndarray, " sample"],
    t_eval: Float64[np.ndarray, " t"],
    *,
    method: Method = "Radau",
    rtol: float = 1e-7,
) -> Float64[np.ndarray, "sample t 2"]:
    """The trajectories at t_eval, one after the other, by a method of scipy.

    Args:
        y0: (x, y) at t = 0.
        mu: of each sample.
        t_eval: ascending times.
        method: of `scipy.integrate.solve_ivp`; implicit ones get the exact Jacobian.
        rtol: relative tolerance; the absolute one is a tenth of it.

    Raises:
        RuntimeError: the method gave up.
    """
    return np.stack([_solve(each, m, t_eval, method, rtol) for each, m in zip(y0, mu, strict=True)])


def _solve(
    y0: np.ndarray, mu: float, t_eval: np.ndarray, method: Method, rtol: float
) -> Float64[np.ndarray, "t 2"]:
    mu = float(mu)  # arithmetic of Python floats is faster than that of numpy scalars

    def field(_: float, state: np.ndarray) -> tuple[float, float]:
        x, y = state.tolist()
        return mu * (x - x * x * x / 3 - y), x / mu

    def jacobian(_: float, state: np.ndarray) -> list[list[float]]:
        return [[mu * (1 - state[0] * state[0]), -mu], [1 / mu, 0.0]]

    solved = solve_ivp(
        field,
        (0.0, t_eval[-1]),
        y0,
        method,
        t_eval,
        rtol=rtol,
        atol=_ATOL_PER_RTOL * rtol,
        **({} if method in _EXPLICIT else {"jac": jacobian}),
    )
    if not solved.success:
        raise RuntimeError(f"{method}, mu = {mu:g}: {solved.message}")
    return np.asarray(solved.y.T)

"""Diffusion with a quadratic reaction and a source on the unit interval.

    u_t = D u_xx + k u² + f(x),   x in (0, 1)

Grid: nodes x_i = i/(N - 1), both ends included. At the ends u = 0, or u_x = 0. The benchmark
(Lu et al., "Learning nonlinear operators via DeepONet", 2021) takes f from
`random_fields.squared_exponential_grf` to u up to t = 1, with D = k = 0.01, u(x, 0) = 0 and u = 0
at the ends. Good values: N = 101 with dt = 0.01 is right to 7e-4, with dt = 0.1 to 3e-3.
"""

from enum import Enum

import numpy as np
from jaxtyping import Float64

from certisolve_zoo.steppers import CrankNicolson, Semilinear, Tridiagonal, divide, rollout


class Boundary(Enum):
    """What holds at both ends."""

    FIXED = "u = 0"
    CLOSED = "u_x = 0"


def solve_diffusion_reaction(
    initial_condition: Float64[np.ndarray, "sample x"],
    source: Float64[np.ndarray, "sample x"],
    *,
    diffusivity: float = 0.01,
    rate: float = 0.01,
    boundary: Boundary = Boundary.FIXED,
    num_snapshots: int,
    interval: float,
    dt: float,
) -> Float64[np.ndarray, "sample t x"]:
    """Values of u at t = interval, 2 interval, ..., by central differences and `CrankNicolson`.

    Second order in space and time. Between closed ends the trapezoidal sum of u changes by reaction
    and source alone.

    Args:
        initial_condition: u at t = 0; between fixed ends it is taken as 0 there.
        source: f.
        diffusivity: D.
        rate: k.
        boundary: condition at the ends.
        num_snapshots: times to return.
        interval: between them.
        dt: longest time step.
    """
    inside = slice(1, -1) if boundary is Boundary.FIXED else slice(None)
    steps_between, dt = divide(interval, dt)
    problem = Semilinear(
        _diffusion(initial_condition.shape[1], diffusivity, boundary),
        lambda u: rate * u**2 + source[:, inside],
        lambda u: 2 * rate * u,
    )
    stepper = CrankNicolson(problem, dt)
    solved = rollout(stepper, initial_condition[:, inside], num_snapshots, steps_between)
    ends = int(boundary is Boundary.FIXED)
    return np.pad(solved, ((0, 0), (0, 0), (ends, ends)))


def _diffusion(num_points: int, diffusivity: float, boundary: Boundary) -> Tridiagonal:
    scale = diffusivity * (num_points - 1) ** 2
    size = num_points - 2 if boundary is Boundary.FIXED else num_points
    left, right = np.full((2, size), scale)
    if boundary is Boundary.CLOSED:
        # The node beyond the end mirrors the one before it.
        right[0] = left[-1] = 2 * scale
    return Tridiagonal(left, np.full(size, -2 * scale), right)

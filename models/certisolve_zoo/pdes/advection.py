"""Linear advection, exactly and by implicit finite differences.

    u_t + a(x) u_x = 0

`shift` takes a constant velocity on the periodic unit interval, at x_i = i/N with the right end
left out. The others take a(x) > 0 on [0, 1] at nodes x_i = i/(N - 1), both ends included, with
u(0, t) given. The benchmark (Wang et al., "Learning the solution operator of parametric partial
differential equations with physics-informed DeepONets", 2021) has u(x, 0) = sin πx,
u(0, t) = sin(πt/2), and for a one plus a Gaussian field that is zero where it is least. Its u has a
kink on the characteristic from the corner. Good values: there `along_characteristics` with N = 101
is right to 1e-5, `solve_advection` with N = 101 and dt = 0.01 to 1 %.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float64
from scipy.fft import irfft, rfft
from scipy.interpolate import CubicSpline

from .fourier import wavenumbers
from .random_fields import squared_exponential_grf


def shift(
    initial_condition: Float64[np.ndarray, "sample x"], distance: float
) -> Float64[np.ndarray, "sample x"]:
    """u0(x - distance) of the trigonometric interpolant of u0."""
    num_points = initial_condition.shape[1]
    phase = np.exp(-1j * wavenumbers(num_points) * distance)
    if num_points % 2 == 0:
        # Nyquist's wave stands for both signs of its wavenumber.
        phase[-1] = phase[-1].real
    return np.asarray(irfft(phase * rfft(initial_condition), n=num_points))


def random_velocity(
    rng: np.random.Generator, num_samples: int, num_points: int
) -> Float64[np.ndarray, "sample x"]:
    """The a of the benchmark: a Gaussian field of length scale 0.2, less its minimum, plus one."""
    field = squared_exponential_grf(rng, num_samples, num_points)
    return np.asarray(field - field.min(axis=1, keepdims=True) + 1.0)


def along_characteristics(
    velocity: Float64[np.ndarray, "sample x"],
    initial_condition: Callable[[np.ndarray], np.ndarray],
    inflow: Callable[[np.ndarray], np.ndarray],
    t_eval: Float64[np.ndarray, " t"],
) -> Float64[np.ndarray, "sample t x"]:
    """Values of u at t_eval, followed back to where or when it entered.

    With the travel time τ(x) = ∫ ds/a(s) from 0, u(x, t) is u0 at the point whose travel time is
    τ(x) - t, or u(0, t - τ(x)) where that is negative. Exact but for the cubic splines through 1/a
    and the inverse of τ, which are of fourth order in h.

    Args:
        velocity: a at the nodes, positive.
        initial_condition: u(x, 0) for an array of x.
        inflow: u(0, t) for an array of t.
        t_eval: times, in any order.
    """
    _require_positive(velocity)
    x = np.linspace(0.0, 1.0, velocity.shape[1])
    travel_times = CubicSpline(x, 1 / velocity, axis=1).antiderivative()(x)
    solution = np.empty((len(velocity), len(t_eval), len(x)))
    for sample, travel_time in enumerate(travel_times):
        back = travel_time - t_eval[:, None]
        start = CubicSpline(travel_time, x)(np.maximum(back, 0.0))
        solution[sample] = np.where(
            back >= 0, initial_condition(start), inflow(np.maximum(-back, 0.0))
        )
    return solution


def solve_advection(
    velocity: Float64[np.ndarray, "sample x"],
    initial_condition: Float64[np.ndarray, " x"],
    inflow: Float64[np.ndarray, " t"],
    dt: float,
) -> Float64[np.ndarray, "sample t x"]:
    """Values of u at the times of inflow, of which the first is 0, by the implicit box scheme.

    The scheme of Wendroff (1960) centres every term in the cell between two nodes and two times; it
    is of second order and stable for any dt. Each unknown follows from its left and lower
    neighbours, so the cells of one diagonal are computed at once.

    Args:
        velocity: a at the nodes, positive.
        initial_condition: u at t = 0.
        inflow: u at x = 0 at times 0, dt, 2 dt, ...
        dt: time step.
    """
    _require_positive(velocity)
    num_samples, num_points = velocity.shape
    courant = 0.5 * (velocity[:, 1:] + velocity[:, :-1]) * dt * (num_points - 1)
    ratio = np.pad((1 - courant) / (1 + courant), ((0, 0), (1, 0)))
    solution = np.empty((num_samples, len(inflow), num_points))
    solution[:, :, 0], solution[:, 0, :] = inflow, initial_condition
    for diagonal in range(2, len(inflow) + num_points - 1):
        x = np.arange(max(1, diagonal - len(inflow) + 1), min(diagonal, num_points))
        t = diagonal - x
        solution[:, t, x] = solution[:, t - 1, x - 1] + ratio[:, x] * (
            solution[:, t - 1, x] - solution[:, t, x - 1]
        )
    return solution


def _require_positive(velocity: np.ndarray) -> None:
    if velocity.min() <= 0:
        raise ValueError("the inflow is on the left: need a positive velocity at every node")

"""Finite differences for `diffreact-multionet`, without anything that could be saved.

    (1 - dt/2 D δ²) (u⁺ + u) = 2u + dt (f + 3/2 k u² - 1/2 k u₋²)

Diffusion by Crank-Nicolson, the weak reaction by Adams-Bashforth: the matrix is constant, and its
inverse on so few nodes is one small product per step. Newton's method on the same grid, as in
`pdes.diffusion_reaction`, gives the same to 1e-6 and is slower.
"""

import functools
from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Float64
from scipy.interpolate import CubicSpline

from certisolve_zoo.spec import ClassicalSolver

from .diffreact_data import DIFFUSIVITY, RATE

# Between fewer nodes, straight lines would spoil what the differences give.
FINE_NODES = 201
# Samples whose values between nodes and steps stay in the cache.
CHUNK = 32
# Nodes, and steps up to t = 1.
LADDER = (
    (26, 5),
    (26, 10),
    (51, 5),
    (51, 10),
    (51, 20),
    (101, 10),
    (101, 20),
    (101, 30),
    (101, 50),
    (201, 25),
    (201, 30),
    (201, 50),
    (201, 100),
)


def solve_at_points(
    source: Float[np.ndarray, "sample sensor"],
    x: Float[np.ndarray, "sample point"],
    t: Float[np.ndarray, "sample point"],
    *,
    num_nodes: int,
    num_steps: int,
) -> Float[np.ndarray, "sample point"]:
    """Values of u at the points, from those on a grid of space and time between which they lie."""
    nodal = _at_nodes(source.astype(np.float64), num_nodes)
    between = _spline(num_nodes, max(FINE_NODES, 2 * num_nodes - 1))
    answers = []
    for start in range(0, len(source), CHUNK):
        chunk = slice(start, start + CHUNK)
        levels = solve_levels(nodal[chunk], num_steps)
        answers.append(bilinear(levels @ between, x[chunk], t[chunk]))
    return np.concatenate(answers)


def solve_levels(
    source: Float64[np.ndarray, "sample x"], num_steps: int
) -> Float64[np.ndarray, "t sample x"]:
    """Values of u at t = 0, dt, ..., 1."""
    dt = 1 / num_steps
    inverse = _inverse(source.shape[1], dt)
    levels = np.zeros((num_steps + 1, *source.shape))
    inner = levels[:, :, 1:-1]
    forcing = dt * source[:, 1:-1]
    past = np.zeros_like(forcing)
    for level in range(num_steps):
        u = inner[level]
        reaction = (dt * RATE / 2) * u * u
        np.subtract((2 * u + forcing + 3 * reaction - past) @ inverse, u, out=inner[level + 1])
        past = reaction
    return levels


def bilinear(
    levels: Float64[np.ndarray, "t sample x"],
    x: Float[np.ndarray, "sample point"],
    t: Float[np.ndarray, "sample point"],
) -> Float64[np.ndarray, "sample point"]:
    """Values between the nodes of the unit square."""
    num_levels, num_samples, num_nodes = levels.shape
    node, right = _cell(x, num_nodes)
    level, later = _cell(t, num_levels)
    sample = np.arange(num_samples)[:, None]
    first = (level * num_samples + sample) * num_nodes + node
    flat, row = levels.ravel(), num_samples * num_nodes
    now = flat[first] * (1 - right) + flat[first + 1] * right
    then = flat[first + row] * (1 - right) + flat[first + row + 1] * right
    return np.asarray(now + later * (then - now))


def classical_solvers() -> tuple[ClassicalSolver, ...]:
    """From coarse to fine."""
    return tuple(_solver(num_nodes, num_steps) for num_nodes, num_steps in LADDER)


def _cell(
    position: Float[np.ndarray, "sample point"], num_nodes: int
) -> tuple[np.ndarray, np.ndarray]:
    """The node to the left, and how far behind it the position lies, in cells."""
    scaled = position * np.float64(num_nodes - 1)
    node = np.minimum(scaled.astype(np.int64), num_nodes - 2)
    return node, scaled - node


@functools.cache
def _inverse(num_nodes: int, dt: float) -> Float64[np.ndarray, "x x"]:
    size = num_nodes - 2
    laplacian = (np.eye(size, k=1) + np.eye(size, k=-1) - 2 * np.eye(size)) * (num_nodes - 1) ** 2
    return np.asarray(np.linalg.inv(np.eye(size) - dt / 2 * DIFFUSIVITY * laplacian))


def _at_nodes(
    source: Float64[np.ndarray, "sample sensor"], num_nodes: int
) -> Float64[np.ndarray, "sample x"]:
    num_sensors = source.shape[1]
    if num_nodes > num_sensors:
        return np.asarray(source @ _spline(num_sensors, num_nodes))
    return source[:, :: (num_sensors - 1) // (num_nodes - 1)]


@functools.cache
def _spline(num_nodes: int, num_fine: int) -> Float64[np.ndarray, "x x_fine"]:
    """Turns nodal values into those of their cubic spline at finer nodes."""
    x, fine = np.linspace(0, 1, num_nodes), np.linspace(0, 1, num_fine)
    return np.ascontiguousarray(CubicSpline(x, np.eye(num_nodes))(fine).T)


def _solver(num_nodes: int, num_steps: int) -> ClassicalSolver:
    solve: Callable[..., np.ndarray] = functools.partial(
        solve_at_points, num_nodes=num_nodes, num_steps=num_steps
    )
    return ClassicalSolver(
        name="central differences, Crank-Nicolson and Adams-Bashforth, numpy, float64",
        grid=f"{num_nodes} nodes, a cubic spline between them, straight lines between steps",
        dt=1 / num_steps,
        solve=solve,
        remark=(
            "Per call of 1000 points. Nodes are few and the reaction is weak, so that one small "
            "matrix product makes a step; the network offers a deviation, derivatives and "
            "batching, not speed"
        ),
    )

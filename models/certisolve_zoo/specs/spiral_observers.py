"""Classical forecasts of the disturbed spiral, for comparison: they know the nominal one."""

from functools import partial

import numpy as np

from certisolve_zoo.ode.observers import (
    affine_forecast,
    kalman_forecast,
    luenberger_forecast,
    open_loop_forecast,
)
from certisolve_zoo.pdes.spiral import NOMINAL
from certisolve_zoo.spec import ClassicalSolver

from .feedback_cascades import DT, NUM_LAYERS

# What a filter assumes of exact measurements: small against the spiral, large against roundings.
SMALLEST_NOISE = 1e-3
OBSERVER_RATE = 20.0


def open_loop(x: np.ndarray) -> np.ndarray:
    """The nominal spiral from the last measurement on."""
    return open_loop_forecast(NOMINAL.vector_field, x[:, -1].astype(np.float64), NUM_LAYERS, DT)


def luenberger(x: np.ndarray, *, rate: float = OBSERVER_RATE) -> np.ndarray:
    """The nominal spiral with a disturbance that an observer found, held constant."""
    return luenberger_forecast(
        NOMINAL.vector_field, x.astype(np.float64), NUM_LAYERS, dt=DT, rate=rate
    )


def kalman(x: np.ndarray, *, noise: float = SMALLEST_NOISE) -> np.ndarray:
    """The same with the gains of an extended Kalman filter."""
    return kalman_forecast(
        _with_disturbance,
        x.astype(np.float64),
        NUM_LAYERS,
        dt=DT,
        parameters=np.zeros(2),
        spread=np.full(2, 20.0),
        drift=np.full(2, 40.0),
        noise=np.full(2, noise),
    )


def regression(x: np.ndarray) -> np.ndarray:
    """An affine map fitted to the window, without any model."""
    return affine_forecast(x.astype(np.float64), NUM_LAYERS)


def solvers(noise: float = SMALLEST_NOISE) -> tuple[ClassicalSolver, ...]:
    """The ladder, from ignorant to exact; the filter knows the noise."""
    solver = partial(ClassicalSolver, dt=DT)
    knows = "Classical, and knows the nominal equation; the network learned it from data"
    return (
        solver(
            name="open loop: nominal spiral, Runge-Kutta 4, numpy, float64",
            grid="50 steps",
            solve=open_loop,
            remark="Ignores all measurements but the last",
        ),
        solver(
            name="Luenberger observer of the nominal spiral with a constant disturbance, numpy",
            grid="200 measurements, 50 steps",
            solve=luenberger,
            remark=knows,
        ),
        solver(
            name="extended Kalman filter of the nominal spiral with a drifting disturbance, numpy",
            grid="200 measurements, 50 steps",
            solve=partial(kalman, noise=noise),
            remark=knows,
        ),
        solver(
            name="least squares for an affine map (dynamic mode decomposition), numpy, float64",
            grid="200 measurements, 50 steps",
            solve=regression,
            remark=(
                "The spiral is linear: a map fitted to exact measurements continues them exactly, "
                "and noise disturbs it little. Use the model to study feedback, not for accuracy "
                "on linear systems"
            ),
        ),
    )


def _with_disturbance(joint: np.ndarray) -> np.ndarray:
    state, disturbance = joint[:, :2], joint[:, 2:]
    return np.concatenate(
        [NOMINAL.vector_field(state) + disturbance, np.zeros_like(disturbance)], axis=1
    )

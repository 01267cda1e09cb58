"""Classical forecasts of a throw with spin and wind, for comparison: they know the drag law."""

from functools import partial

import numpy as np

from certisolve_zoo.ode.observers import (
    kalman_forecast,
    luenberger_forecast,
    open_loop_forecast,
)
from certisolve_zoo.pdes.projectile import Throws, nominal_throws
from certisolve_zoo.spec import ClassicalSolver

from .feedback_cascades import DT, NUM_LAYERS

NOISE = np.array([2e-3, 2e-3, 2e-3, 2e-2, 2e-2, 2e-2])
OBSERVER_RATE = 20.0
DRAG, DRAG_SPREAD = 0.1, 0.03
SPIN_SPREAD, WIND_SPREAD = 0.6, 1.8


def open_loop(x: np.ndarray) -> np.ndarray:
    """A nominal throw from the last measurement on."""
    return open_loop_forecast(_nominal, x[:, -1].astype(np.float64), NUM_LAYERS, DT)


def luenberger(x: np.ndarray, *, rate: float = OBSERVER_RATE) -> np.ndarray:
    """A nominal throw with a disturbance that an observer found, held constant."""
    return luenberger_forecast(_nominal, x.astype(np.float64), NUM_LAYERS, dt=DT, rate=rate)


def kalman(x: np.ndarray) -> np.ndarray:
    """A nominal throw with a force that an extended Kalman filter found, held constant."""
    return kalman_forecast(
        _with_force,
        x.astype(np.float64),
        NUM_LAYERS,
        dt=DT,
        parameters=np.zeros(3),
        spread=np.full(3, 5.0),
        drift=np.full(3, 3.0),
        noise=NOISE,
    )


def kalman_of_parameters(x: np.ndarray) -> np.ndarray:
    """A throw whose drag, spin and wind an extended Kalman filter found."""
    return kalman_forecast(
        _with_parameters,
        x.astype(np.float64),
        NUM_LAYERS,
        dt=DT,
        parameters=np.array([DRAG, 0.0, 0.0, 0.0, 0.0, 0.0]),
        spread=np.array([DRAG_SPREAD, *[SPIN_SPREAD] * 3, *[WIND_SPREAD] * 2]),
        # Little, but enough for the filter to go on learning where its linearisation was off.
        drift=np.array([0.02, *[0.3] * 5]),
        noise=NOISE,
    )


def _nominal(state: np.ndarray) -> np.ndarray:
    return nominal_throws(len(state), drag=DRAG).vector_field(state)


def _with_force(joint: np.ndarray) -> np.ndarray:
    state, force = joint[:, :6], joint[:, 6:]
    derivative = _nominal(state)
    derivative[:, 3:] += force
    return np.concatenate([derivative, np.zeros_like(force)], axis=1)


def _with_parameters(joint: np.ndarray) -> np.ndarray:
    """Joint state: (p, v), drag, spin, and the wind's two horizontal components."""
    level = np.zeros((len(joint), 1))
    wind = np.concatenate([joint[:, 10:12], level], axis=1)
    throws = Throws(drag=joint[:, 6], spin=joint[:, 7:10], wind=wind)
    return np.concatenate([throws.vector_field(joint[:, :6]), np.zeros((len(joint), 6))], axis=1)


_solver = partial(ClassicalSolver, dt=DT)
SOLVERS = (
    _solver(
        name="open loop: nominal throw, Runge-Kutta 4, numpy, float64",
        grid="50 steps",
        solve=open_loop,
        remark="Ignores all measurements but the last",
    ),
    _solver(
        name="Luenberger observer of the nominal throw with a constant disturbance, numpy",
        grid="75 measurements, 50 steps",
        solve=luenberger,
        remark="Classical, and knows the drag law; the network learned it from data",
    ),
    _solver(
        name="extended Kalman filter of the nominal throw with a drifting force, numpy",
        grid="75 measurements, 50 steps",
        solve=kalman,
        remark="Classical, and knows the drag law; the network learned it from data",
    ),
    _solver(
        name="extended Kalman filter of the throw with its drag, spin and wind, numpy",
        grid="75 measurements, 50 steps",
        solve=kalman_of_parameters,
        remark=(
            "Knows the law of the throw in full, the noise, and where parameters may lie; the "
            "model knows throws in still air alone"
        ),
    ),
)

"""Runs a stepper and keeps snapshots."""

from math import ceil

import numpy as np
from jaxtyping import Inexact

from .base import AbstractStepper

ROUNDING = 1e-9


def divide(interval: float, dt: float) -> tuple[int, float]:
    """The fewest equal steps, none longer than dt, that fill the interval; and their length."""
    if not 0 < dt < np.inf or not 0 < interval < np.inf:
        raise ValueError(f"interval {interval} and dt {dt}: need positive numbers")
    num_steps = max(1, ceil(interval / dt * (1 - ROUNDING)))
    return num_steps, interval / num_steps


def rollout(
    stepper: AbstractStepper,
    state: Inexact[np.ndarray, "sample ..."],
    num_snapshots: int,
    steps_between: int,
) -> Inexact[np.ndarray, "sample t ..."]:
    """The states after every steps_between steps; the given one is not among them.

    Raises:
        FloatingPointError: a state is no longer finite, as happens when dt is too long.
    """
    snapshots = []
    with np.errstate(over="ignore", invalid="ignore"):
        for index in range(num_snapshots):
            for _ in range(steps_between):
                state = stepper.step(state)
            if not np.isfinite(state).all():
                raise FloatingPointError(f"no finite solution at snapshot {index}: shorten dt")
            snapshots.append(state)
    return np.stack(snapshots, axis=1)

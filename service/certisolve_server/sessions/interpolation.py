"""States between the steps of a forecast; pure."""

from collections.abc import Sequence

import numpy as np

from certisolve_server.jobs import Array


def between(layers: Array, dt: float, times: Sequence[float]) -> Array:
    """States at `times`, by cubic Hermite polynomials through the layers.

    The slopes are those of parabolas through three neighbouring layers, which makes the error of
    order dt³ for a smooth trajectory, and none at the layers themselves.

    Args:
        layers: states 0 ... N at times 0, dt, ..., of shape (N + 1, ...); N >= 1.
        dt: between two layers.
        times: within 0 and N dt.

    Returns:
        Of shape (time, ...), of the element type of `layers`.
    """
    values = layers.astype(np.float64)
    slopes = np.gradient(values, axis=0, edge_order=2 if len(values) > 2 else 1)
    position = np.asarray(times, np.float64) / dt
    left = np.clip(np.floor(position).astype(int), 0, len(values) - 2)
    s = (position - left).reshape(-1, *[1] * (values.ndim - 1))
    rest = 1 - s
    states: Array = (
        (1 + 2 * s) * rest**2 * values[left]
        + s * rest**2 * slopes[left]
        + s**2 * (3 - 2 * s) * values[left + 1]
        - s**2 * rest * slopes[left + 1]
    )
    return np.asarray(states.astype(layers.dtype))

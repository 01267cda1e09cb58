"""Classical forecasts from measurements: open loop, Luenberger, extended Kalman filter, regression.

All of them know a vector field f, or have parameters to find, and batches of full states measured
every dt. They follow the measurements and then step ahead by the classical Runge-Kutta method.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float64

States = Float64[np.ndarray, "sample state"]
Window = Float64[np.ndarray, "sample measurement state"]
Trajectory = Float64[np.ndarray, "sample t state"]
Field = Callable[[np.ndarray], np.ndarray]

# Of finite differences: the cube root of a rounding, for values around 1.
_DIFFERENCE = 1e-5


def runge_kutta4(field: Field, state: States, dt: float) -> States:
    """One step of the classical method."""
    k1 = field(state)
    k2 = field(state + dt / 2 * k1)
    k3 = field(state + dt / 2 * k2)
    k4 = field(state + dt * k3)
    return np.asarray(state + dt / 6 * (k1 + 2 * (k2 + k3) + k4))


def open_loop_forecast(field: Field, state: States, num_steps: int, dt: float) -> Trajectory:
    """The states after 1 ... num_steps steps."""
    states = []
    for _ in range(num_steps):
        state = runge_kutta4(field, state, dt)
        states.append(state)
    return np.stack(states, axis=1)


def luenberger_forecast(
    field: Field, measurements: Window, num_steps: int, *, dt: float, rate: float
) -> Trajectory:
    """Follow x' = f(x) + d with an unknown constant d, and step ahead with the d found.

    The gains put both eigenvalues of the error at exp(-rate dt).

    Args:
        field: f, of the nominal system.
        measurements: of x.
        num_steps: of the forecast.
        dt: between measurements, and of a step.
        rate: at which errors of the observer die out.
    """
    pole = np.exp(-rate * dt)
    state, disturbance = measurements[:, 0], np.zeros_like(measurements[:, 0])
    for measurement in np.moveaxis(measurements[:, 1:], 1, 0):
        state = runge_kutta4(_disturbed(field, disturbance), state, dt)
        innovation = measurement - state
        state = state + (1 - pole**2) * innovation
        disturbance = disturbance + (1 - pole) ** 2 / dt * innovation
    return open_loop_forecast(_disturbed(field, disturbance), state, num_steps, dt)


def kalman_forecast(
    field: Field,
    measurements: Window,
    num_steps: int,
    *,
    dt: float,
    parameters: Float64[np.ndarray, " parameter"],
    spread: Float64[np.ndarray, " parameter"],
    drift: Float64[np.ndarray, " parameter"],
    noise: Float64[np.ndarray, " state"],
) -> Trajectory:
    """An extended Kalman filter of states and unknown parameters, then a step ahead with both.

    Args:
        field: the derivative of (state, parameters), zero for parameters.
        measurements: of the state.
        num_steps: of the forecast.
        dt: between measurements, and of a step.
        parameters: expected before the first measurement.
        spread: their standard deviation.
        drift: standard deviation of what they change by in a unit of time.
        noise: standard deviation of a measurement.
    """
    num_samples, _, num_states = measurements.shape
    known = np.broadcast_to(parameters, (num_samples, len(parameters)))
    mean = np.concatenate([measurements[:, 0], known], axis=1)
    covariance = np.tile(np.diag(np.concatenate([noise, spread]) ** 2), (num_samples, 1, 1))
    process = dt * np.diag(np.concatenate([np.zeros(num_states), drift]) ** 2)
    for measurement in np.moveaxis(measurements[:, 1:], 1, 0):
        mean, jacobian = _linearised_step(field, mean, dt)
        covariance = jacobian @ covariance @ jacobian.swapaxes(1, 2) + process
        mean, covariance = _updated(mean, covariance, measurement, noise)
    return open_loop_forecast(field, mean, num_steps, dt)[..., :num_states]


def affine_forecast(measurements: Window, num_steps: int) -> Trajectory:
    """Dynamic mode decomposition: least squares for x(t + dt) = A x(t) + c, then repeat the map."""
    before, after = measurements[:, :-1], measurements[:, 1:]
    extended = np.concatenate([before, np.ones_like(before[..., :1])], axis=-1)
    affine = np.linalg.pinv(extended) @ after
    state, states = measurements[:, -1:], []
    for _ in range(num_steps):
        state = state @ affine[:, :-1] + affine[:, -1:]
        states.append(state)
    return np.concatenate(states, axis=1)


def _disturbed(field: Field, disturbance: States) -> Field:
    return lambda state: field(state) + disturbance


def _linearised_step(field: Field, mean: States, dt: float) -> tuple[States, np.ndarray]:
    """One step, and its Jacobian by central differences, in one batch."""
    num_samples, size = mean.shape
    offsets = _DIFFERENCE * np.concatenate([np.zeros((1, size)), np.eye(size), -np.eye(size)])
    around = (mean[:, None] + offsets).reshape(-1, size)
    after = runge_kutta4(field, around, dt).reshape(num_samples, -1, size)
    jacobian = (after[:, 1 : size + 1] - after[:, size + 1 :]) / (2 * _DIFFERENCE)
    return after[:, 0], jacobian.swapaxes(1, 2)


def _updated(
    mean: States, covariance: np.ndarray, measurement: States, noise: np.ndarray
) -> tuple[States, np.ndarray]:
    """The filter's update, in the form of Joseph that keeps a covariance positive."""
    num_states = measurement.shape[1]
    innovation = covariance[:, :num_states, :num_states] + np.diag(noise**2)
    gain = np.linalg.solve(innovation, covariance[:, :num_states]).swapaxes(1, 2)
    surprise = (measurement - mean[:, :num_states])[..., None]
    rest = np.tile(np.eye(mean.shape[1]), (len(mean), 1, 1))
    rest[:, :, :num_states] -= gain
    kept = rest @ covariance @ rest.swapaxes(1, 2)
    seen = (gain * noise**2) @ gain.swapaxes(1, 2)
    return mean + (gain @ surprise)[..., 0], kept + seen

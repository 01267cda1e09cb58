"""Prediction over several steps by a cascade of observers (Jia et al., 2024).

Layer i predicts step i + 1 from what layer i - 1 predicted, corrected by its own observer y_i:

    k = f(x_i) + g_i h(x_i - y_i),   y_i <- y_i + Δ k,   x_{i+1} = x_i + Δ k,   g_i = exp(-βi)

x_0 is the measurement. The observers are kept until the next one. Euler steps, as in the paper:
0 < Δλ < 2 for every eigenvalue λ of L, and Δλ <= 1 for no ringing.

Layer i at measurement m needs layer i - 1 at m and its own observer after m - 1. All layers with
the same m + i can therefore go through the network together: a wave that crosses M measurements
and N layers in M + N - 1 calls.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from .feedback import FeedbackField


class Forecast(NamedTuple):
    """What one measurement gives.

    Attributes:
        states: x_1 ... x_N, the last the prediction N steps ahead.
        observers: y_0 ... y_{N-1} for the next measurement.
    """

    states: Float[Tensor, "batch layer state"]
    observers: Float[Tensor, "batch layer state"]


def forecast(
    field: FeedbackField,
    measurement: Float[Tensor, "batch state"],
    observers: Float[Tensor, "batch layer state"],
    *,
    dt: float,
    decay: float,
) -> Forecast:
    """One pass through the cascade.

    Args:
        field: the corrected vector field.
        measurement: x now, dt after the one before.
        observers: of the pass before, or `open_loop` of the first measurement.
        dt: Δ, between measurements and between layers.
        decay: β, of the gain from layer to layer.
    """
    state, states, moved = measurement, [], []
    for layer, observer in enumerate(observers.unbind(1)):
        gain = state.new_full((len(state),), math.exp(-decay * layer))
        increment = dt * field(state, observer, gain)
        moved.append(observer + increment)
        state = state + increment
        states.append(state)
    return Forecast(torch.stack(states, dim=1), torch.stack(moved, dim=1))


def forecast_window(
    field: FeedbackField,
    measurements: Float[Tensor, "batch measurement state"],
    num_layers: int,
    *,
    dt: float,
    decay: float,
) -> Float[Tensor, "batch layer state"]:
    """x_1 ... x_N after the last measurement: `forecast` of each in turn, in waves.

    Args:
        field: the corrected vector field, called with up to batch times N states.
        measurements: of x, dt apart; from a single one the forecast is the open loop.
        num_layers: N.
        dt: Δ, between measurements and between layers.
        decay: β, of the gain from layer to layer.
    """
    num_measurements = measurements.shape[1]
    gains = measurements.new_tensor([math.exp(-decay * layer) for layer in range(num_layers)])
    states = observers = measurements[:, :0]
    predicted = []
    for wave in range(num_measurements + num_layers - 1):
        if wave < num_measurements:
            states = torch.cat((measurements[:, wave : wave + 1], states), dim=1)
        else:
            observers, gains = observers[:, 1:], gains[1:]
        if wave < num_layers:  # the wave reaches a layer: its observer starts at what it sees
            observers = torch.cat((observers, states[:, -1:]), dim=1)
        increments = dt * _at_layers(field, states, observers, gains[: states.shape[1]])
        states, observers = states + increments, observers + increments
        if wave >= num_measurements - 1:
            predicted.append(states[:, 0])
        if wave >= num_layers - 1:
            states = states[:, :-1]
    return torch.stack(predicted, dim=1)


def open_loop(
    field: FeedbackField,
    measurement: Float[Tensor, "batch state"],
    num_layers: int,
    *,
    dt: float,
) -> Float[Tensor, "batch layer state"]:
    """Observers before the first pass: the uncorrected states x_0 ... x_{N-1}."""
    states, gain = [measurement], measurement.new_zeros(len(measurement))
    for _ in range(num_layers - 1):
        states.append(states[-1] + dt * field(states[-1], states[-1], gain))
    return torch.stack(states, dim=1)


def noise_gain(eigenvalue: float, num_layers: int, *, dt: float, decay: float) -> float:
    """How much a cascade amplifies noise of the measurement: Π_i (1 + Δλ exp(-βi)).

    Args:
        eigenvalue: λ, the largest of L.
        num_layers: N.
        dt: Δ.
        decay: β.
    """
    return math.prod(1 + dt * eigenvalue * math.exp(-decay * i) for i in range(num_layers))


def _at_layers(
    field: FeedbackField,
    states: Float[Tensor, "batch layer state"],
    observers: Float[Tensor, "batch layer state"],
    gains: Float[Tensor, " layer"],
) -> Float[Tensor, "batch layer state"]:
    gain = gains.expand(states.shape[:2]).flatten()
    derivative = field(states.flatten(0, 1), observers.flatten(0, 1), gain)
    return torch.as_tensor(derivative).view_as(states)

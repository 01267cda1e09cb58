"""`feedback-ode`: a learned vector field, corrected by measurements through a cascade of observers.

Jia et al., "Feedback Favors the Generalization of Neural ODEs", 2024. At measurement m, layer i
predicts step i + 1 from what layer i - 1 predicted, corrected by its own observer:

    k = F(x_i, y_i, exp(-βi)),   y_i <- y_i + Δ k,   x_{i+1} = x_i + Δ k,   x_0 = measurement m

Before the first measurement the observers are the uncorrected states, so that with a single
measurement the forecast is that of the vector field alone.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from certisolve_server.engines.base import AbstractEngine, Answer
from certisolve_server.engines.device import AbstractDevice
from certisolve_server.engines.program import Programs
from certisolve_server.jobs import Artifact, Work


class FeedbackOdeEngine(AbstractEngine):
    """Runs all measurements through the cascade, along its diagonals.

    Layer i at measurement m needs layer i - 1 at m, and its own observer from m - 1: all pairs with
    the same m + i are one batch, and M measurements through N layers take M + N - 1 passes.
    """

    def __init__(self, artifact: Artifact, device: AbstractDevice, programs: Programs) -> None:
        super().__init__(artifact, device, programs.checks)
        stepping, feedback = artifact.manifest.stepping, artifact.manifest.feedback
        assert stepping is not None
        assert feedback is not None
        self._field = programs.network
        self._dt, self._feedback = stepping.dt, feedback

    def solve(self, inputs: Sequence[Tensor], work: Sequence[Work]) -> Answer:
        measurements = inputs[0]
        num_layers = max(each.steps[-1] for each in work)
        rows = [row for row, each in enumerate(work) for _ in each.steps]
        layers = [step - 1 for each in work for step in each.steps]
        forecast = self._forecast(measurements, num_layers)
        last = torch.tensor([each.steps[-1] for each in work], dtype=torch.float64)
        findings = {
            "nfe": last * measurements.shape[1] + last - 1,
            "noise_gain": torch.tensor(
                [self._noise_gain(each.steps[-1]) for each in work], dtype=torch.float64
            ),
        }
        return Answer([forecast[rows, layers]], findings, [len(each.steps) for each in work])

    def _forecast(self, measurements: Tensor, num_layers: int) -> Tensor:
        """States 1 to N steps after the last measurement, of shape (batch, N, state)."""
        num_measurements = measurements.shape[1]
        states, observers = self._open_loop(measurements[:, 0], num_layers)
        layers = torch.arange(num_layers, dtype=measurements.dtype, device=measurements.device)
        gains = torch.exp(-self._feedback.decay * layers)
        for diagonal in range(num_measurements + num_layers - 1):
            first = max(0, diagonal - num_measurements + 1)
            end = min(diagonal + 1, num_layers)
            moved = self._dt * self._derivative(
                states[:, first:end], observers[:, first:end], gains[first:end]
            )
            states[:, first + 1 : end + 1] = states[:, first:end] + moved
            observers[:, first:end] += moved
            if diagonal + 1 < num_measurements:
                states[:, 0] = measurements[:, diagonal + 1]
        return states[:, 1:]

    def _open_loop(self, measurement: Tensor, num_layers: int) -> tuple[Tensor, Tensor]:
        """Where layers and observers start: uncorrected states after 0 to N steps, and N - 1."""
        states, no_gain = [measurement], measurement.new_zeros(1)
        for _ in range(num_layers - 1):
            state = states[-1].unsqueeze(1)
            states.append(states[-1] + self._dt * self._derivative(state, state, no_gain)[:, 0])
        observers = torch.stack(states, dim=1)
        return torch.cat([observers, observers[:, -1:]], dim=1), observers

    def _derivative(self, states: Tensor, observers: Tensor, gains: Tensor) -> Tensor:
        """dx/dt of several layers at once, of shape (batch, layer, state)."""
        batch = gains.expand(len(states), -1).flatten()
        flat = states.flatten(0, 1).contiguous(), observers.flatten(0, 1).contiguous()
        [derivative] = self._field(*flat, batch)
        return derivative.view_as(states)

    def _noise_gain(self, num_layers: int) -> float:
        """How much noise of a measurement is amplified: Π (1 + Δλ exp(-βi))."""
        decay, slope = self._feedback.decay, self._dt * self._feedback.eigenvalue
        logarithms = [math.log1p(slope * math.exp(-decay * i)) for i in range(num_layers)]
        return math.exp(min(math.fsum(logarithms), 700.0))

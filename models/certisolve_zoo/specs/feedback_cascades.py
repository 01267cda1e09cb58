"""What the models with feedback share: the cascade they run in, windows, and how they are trained.

A window holds measurements 0.01 apart and the states of the half second after them. The learned
field is that of the cascade's own Euler steps: the increment of the true solution over 0.01,
divided by 0.01.
"""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR

from certisolve.manifest import Axis, Feedback, Stepping
from certisolve_zoo.data import Samples
from certisolve_zoo.ode.cascade import forecast_window
from certisolve_zoo.ode.feedback import FeedbackField, LinearFeedback, NeuralFeedback
from certisolve_zoo.pdes.measurement import measure
from certisolve_zoo.training import Loss, TrainingRun, fit

DT = 0.01
NUM_LAYERS = 50
DECAY = 0.02
T = tuple(round(DT * (layer + 1), 2) for layer in range(NUM_LAYERS))
ERROR_TIMES = (0.1, 0.5)
STEPPING = Stepping(dt=DT, max_steps=NUM_LAYERS)
# Requests; a call of the network holds up to 50 layers of each.
MAX_BATCH_SIZE = 256
NUM_UNSEEN = 256
STEPS_PER_EPOCH = 25


def measurement_axis(maximum: int) -> Axis:
    """The axis of measurements, as many as the caller has."""
    return Axis(kind="points", minimum=1, maximum=maximum)


def predict(network: nn.Module, measurements: Tensor) -> Tensor:
    """The states at `T` after the last measurement."""
    assert isinstance(network, FeedbackField)
    return forecast_window(network, measurements, NUM_LAYERS, dt=DT, decay=DECAY)


def feedback(network: nn.Module) -> Feedback:
    """The manifest's entry: the gain's decay, and a proven bound of the correction's slope."""
    assert isinstance(network, FeedbackField)
    correction = network.feedback
    assert isinstance(correction, LinearFeedback | NeuralFeedback)
    return Feedback(decay=DECAY, eigenvalue=correction.slope_bound())


def window(
    rng: np.random.Generator,
    trajectory: Float64[np.ndarray, "sample t state"],
    noise: float | Float64[np.ndarray, " state"],
) -> Samples:
    """Measurements of all states but the last 50, which are the target."""
    measured = measure(rng, trajectory[:, :-NUM_LAYERS], noise=noise)
    target = torch.from_numpy(trajectory[:, -NUM_LAYERS:])
    return Samples((torch.from_numpy(measured).float(),), target.float())


class ForecastError(nn.Module):
    """The cascade as a network from measurements to forecast, whose feedback alone is trained."""

    def __init__(self, field: nn.Module, correction: nn.Module) -> None:
        super().__init__()
        self.corrected = FeedbackField(field.requires_grad_(False), correction)

    def forward(
        self, measurements: Float[Tensor, "batch measurement state"]
    ) -> Float[Tensor, "batch layer state"]:
        """The forecast."""
        return predict(self.corrected, measurements)


def train_feedback(
    field: nn.Module,
    draw: Callable[[np.random.Generator], Samples],
    loss: Loss,
    run: TrainingRun,
    *,
    start: float,
    num_epochs: int,
    learning_rate: float,
) -> FeedbackField:
    """A neural feedback that minimises the error of noisy forecasts, by back-propagation.

    The paper regresses the feedback on one-step residuals, which asks for an ever larger gain;
    through the cascade noise has its price.

    Args:
        field: learned; left as it is.
        draw: windows of randomised systems.
        loss: of a forecast.
        run: where to write and report; its seed draws the windows.
        start: λ of h(e) = λ e, to which the feedback is fitted first.
        num_epochs: of 25 steps each.
        learning_rate: the highest of one cycle.
    """
    num_states = draw(np.random.default_rng(0)).target.shape[-1]
    correction = NeuralFeedback(num_states)
    _fit_linear(correction, start, num_states)
    cascade = ForecastError(field, correction)
    optimizer = torch.optim.Adam(correction.parameters(), learning_rate)
    num_epochs = run.num_epochs(num_epochs)
    fit(
        cascade,
        optimizer,
        (_epoch(draw, (run.seed, epoch)) for epoch in range(num_epochs)),
        num_epochs=num_epochs,
        loss=loss,
        run=run,
        schedule=OneCycleLR(
            optimizer, learning_rate, total_steps=num_epochs * STEPS_PER_EPOCH, pct_start=0.1
        ),
    )
    return cascade.corrected


def _epoch(
    draw: Callable[[np.random.Generator], Samples], seed: tuple[int, ...]
) -> Iterator[Samples]:
    rng = np.random.default_rng(seed)
    return (draw(rng) for _ in range(STEPS_PER_EPOCH))


def _fit_linear(correction: NeuralFeedback, slope: float, num_states: int) -> None:
    """Make h(e) about slope times e, for errors around 1."""
    optimizer = torch.optim.Adam(correction.parameters(), 5e-3)
    schedule = OneCycleLR(optimizer, 5e-3, total_steps=500)
    for _ in range(500):
        error = 2 * torch.rand(256, 1) * torch.randn(256, num_states)
        optimizer.zero_grad()
        loss = (correction(error) - slope * error).square().mean()
        loss.backward()
        optimizer.step()
        schedule.step()

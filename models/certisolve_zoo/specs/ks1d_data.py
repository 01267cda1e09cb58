"""What the two Kuramoto-Sivashinsky models share: trajectories, protocol, schedule, measurement.

Frames are seen at every fourth point of the reference grid, which hides the waves above mode 32: a
sixth of the energy, folded onto the waves below. Such frames do not determine their successors.
"""

from collections.abc import Iterator
from typing import Protocol, cast

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR

from certisolve.manifest import Axis, ParameterSpec, TensorSpec
from certisolve_zoo.data import Samples, minibatches
from certisolve_zoo.pdes.kuramoto_sivashinsky import solve_kuramoto_sivashinsky
from certisolve_zoo.pdes.random_fields import random_sines
from certisolve_zoo.training import TrainingRun, fit

NU, EXTENT = 0.1, 64.0
POINTS, FINE_POINTS = 64, 256
STRIDE = FINE_POINTS // POINTS
# Between frames, and of the solver; waves grow at rates up to 1/4ν, so 4 is long after the start.
DT, FINE_DT, FIRST_TIME = 0.1, 0.01, 4.0
# Typical size of u, by which networks divide.
SCALE = 4.0

HISTORY, NUM_STEPS = 10, 15
WIDTH, NUM_MODES = 48, 32
NUM_TRAJECTORIES, NUM_FRAMES = 1024, 60
BATCH_SIZE = 8
# Of the three stages of training.
EPOCHS = 32, 8, 8
LEARNING_RATES = 3e-3, 5e-4, 1e-3
UNSEEN_SEED, EXAMPLE_SEED = (1_000_000, 0), (1_000_000, 1)
TIMES = tuple(round(DT * step, 10) for step in range(1, NUM_STEPS + 1))
ERROR_TIMES = (0.1, 0.2, 0.5, 1.0, 1.5)
# In the training data |u| stays below 13.
LARGEST = 20.0
GRID_LIMITS = (POINTS, FINE_POINTS)
EQUATION = "u_t + u u_x + u_xx + ν u_xxxx = 0 on (0, 64), periodic"
AXIS = Axis(kind="grid", lower=0.0, upper=EXTENT, convention="periodic", boundary="periodic")
OUTPUT = TensorSpec(name="u", dtype="F32", axes=("x",), description="u after each time asked for")
PARAMETER = ParameterSpec(
    name="nu", minimum=NU, maximum=NU, default=NU, description="hyperviscosity ν, built in"
)
DATA = (
    f"{NUM_TRAJECTORIES} solutions from sums of ten sines of zero mean (Brandstetter et al., 2022) "
    f"on {FINE_POINTS} points by ETDRK4 with dt = {FINE_DT}, from t = {FIRST_TIME:g} on, in "
    f"developed chaos; windows of {HISTORY + NUM_STEPS} frames, {DT} apart, every fourth point "
    "seen, from any of the first four on, every other batch mirrored to -u(-x)"
)
# Trajectories that are solved at once stay in the cache.
_CHUNK = 64


class Recurrent(Protocol):
    """What steps from frame to frame with a memory, which may be empty."""

    def step(self, frame: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """The successor of a frame, and the memory after it."""
        ...

    def initial_state(self, frame: Tensor) -> Tensor:
        """The memory before the first frame."""
        ...


def forecast(
    network: Recurrent, history: Float[Tensor, "batch time x"], num_steps: int
) -> Float[Tensor, "batch step x"]:
    """The frames after a history, whose frames go in one after the other, then the predictions."""
    frame, state = _recalled(network, history)
    frames = [frame]
    for _ in range(num_steps - 1):
        frame, state = network.step(frame, state)
        frames.append(frame)
    return torch.stack(frames, dim=1)


def _recalled(network: Recurrent, history: Tensor) -> tuple[Tensor, Tensor]:
    state = network.initial_state(history[:, 0])
    with torch.no_grad():
        for given in history[:, :-1].unbind(1):
            _, state = network.step(given, state)
    return network.step(history[:, -1], state)


class Forecast(nn.Module):
    """`forecast` as a forward pass, for training on frames that were fed back.

    Args:
        network: that steps; gradients reach it through the forecast, not through the history.
        given: frames of the history that it sees, the last ones.
    """

    def __init__(self, network: nn.Module, given: int = HISTORY) -> None:
        super().__init__()
        self.network, self.given = network, given

    def forward(self, history: Float[Tensor, "batch time x"]) -> Float[Tensor, "batch step x"]:
        """The frames after a history."""
        recurrent = cast("Recurrent", self.network)
        return forecast(recurrent, history[:, -self.given :], NUM_STEPS)


class Everything(nn.Module):
    """The successors of every frame of a history, then the rest of the forecast. For training.

    Args:
        network: that steps; gradients reach it through all steps.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, history: Float[Tensor, "batch time x"]) -> Float[Tensor, "batch step x"]:
        """The frames from the second of the history on."""
        recurrent = cast("Recurrent", self.network)
        state, frames = recurrent.initial_state(history[:, 0]), []
        for given in history.unbind(1):
            frame, state = recurrent.step(given, state)
            frames.append(frame)
        for _ in range(NUM_STEPS - 1):
            frame, state = recurrent.step(frame, state)
            frames.append(frame)
        return torch.stack(frames, dim=1)


def trajectories(
    seed: tuple[int, ...], num_samples: int, num_frames: int
) -> Float[Tensor, "sample t x"]:
    """Solutions of zero mean on the reference grid, every DT from FIRST_TIME on.

    A longer set begins with the shorter one.
    """
    chunks = range(-(-num_samples // _CHUNK))
    return torch.cat([_solved((*seed, chunk), num_frames) for chunk in chunks])[:num_samples]


def _solved(seed: tuple[int, ...], num_frames: int) -> Tensor:
    start = random_sines(np.random.default_rng(seed), _CHUNK, FINE_POINTS)
    start -= start.mean(axis=1, keepdims=True)
    developed = solve_kuramoto_sivashinsky(
        start, NU, domain_extent=EXTENT, num_snapshots=1, interval=FIRST_TIME, dt=FINE_DT
    )
    later = solve_kuramoto_sivashinsky(
        developed[:, 0],
        NU,
        domain_extent=EXTENT,
        num_snapshots=num_frames - 1,
        interval=DT,
        dt=FINE_DT,
    )
    return torch.from_numpy(np.concatenate([developed, later], axis=1)).float()


def samples(seed: tuple[int, ...], num_samples: int) -> Samples:
    """Histories and the frames that follow, on the coarse grid."""
    frames = trajectories(seed, num_samples, HISTORY + NUM_STEPS)[..., ::STRIDE].contiguous()
    return Samples((frames[:, :HISTORY],), frames[:, HISTORY:])


def train(model: nn.Module, one_step: nn.Module, given: int, run: TrainingRun) -> nn.Module:
    """Adam on the relative L2 error of the next frames, of frames that were fed back, of both.

    Args:
        model: that steps.
        one_step: takes true frames (batch, time, x) and returns the successor of each; shares the
            weights.
        given: frames before a forecast that the model can make use of.
        run: seed and fraction of the schedule.
    """
    frames = trajectories((run.seed, 0), NUM_TRAJECTORIES, NUM_FRAMES)
    for stage, module in enumerate((one_step, Forecast(model, given), Everything(model))):
        train_stage(stage, module, frames, run)
    return model


def train_stage(stage: int, module: nn.Module, frames: Tensor, run: TrainingRun) -> None:
    """One of the three stages, on trajectories on the reference grid."""
    num_epochs = run.num_epochs(EPOCHS[stage])
    optimizer = torch.optim.Adam(module.parameters(), LEARNING_RATES[stage])
    steps = num_epochs * (NUM_TRAJECTORIES // BATCH_SIZE)
    fit(
        module,
        optimizer,
        (_epoch(frames, (run.seed, stage, epoch)) for epoch in range(num_epochs)),
        num_epochs=num_epochs,
        loss=mean_frame_error,
        run=run,
        schedule=OneCycleLR(optimizer, LEARNING_RATES[stage], total_steps=steps, pct_start=0.1),
    )


def recipe(first_stage: str) -> str:
    """The training in words."""
    return (
        f"Adam, one-cycle learning rate, batches of {BATCH_SIZE}, relative L2 loss of each frame: "
        f"{EPOCHS[0]} epochs up to {LEARNING_RATES[0]} on {first_stage}; {EPOCHS[1]} up to "
        f"{LEARNING_RATES[1]} on {NUM_STEPS} steps in a row after {HISTORY} true frames; "
        f"{EPOCHS[2]} up to {LEARNING_RATES[2]} on these steps and those from the true frames"
    )


def mean_frame_error(
    prediction: Float[Tensor, "batch t x"], target: Float[Tensor, "batch t x"]
) -> Float[Tensor, ""]:
    """|prediction - target|_2 / |target|_2 over space, averaged over frames and samples."""
    difference = torch.linalg.vector_norm(prediction - target, dim=2)
    sizes = torch.linalg.vector_norm(target, dim=2)
    return torch.as_tensor((difference / sizes).mean())


def _epoch(frames: Tensor, seed: tuple[int, int, int]) -> Iterator[Samples]:
    """Windows of every trajectory, at any time, on any coarse grid, every other one mirrored."""
    run, stage, epoch = seed
    generator = torch.Generator().manual_seed(1_000_000 * run + 1000 * stage + epoch)
    length = HISTORY + NUM_STEPS
    for index in minibatches(len(frames), BATCH_SIZE, generator):
        start = int(torch.randint(NUM_FRAMES - length + 1, (), generator=generator))
        offset = int(torch.randint(STRIDE, (), generator=generator))
        window = frames[index, start : start + length, offset::STRIDE]
        if torch.rand((), generator=generator) < 0.5:
            window = -window.flip(2)  # u(x) -> -u(-x) leaves the equation as it is
        yield (_next_frames, _later_frames, _all_frames)[stage](window)


def _next_frames(window: Tensor) -> Samples:
    return Samples((window[:, :-1],), window[:, 1:])


def _later_frames(window: Tensor) -> Samples:
    return Samples((window[:, :HISTORY],), window[:, HISTORY:])


def _all_frames(window: Tensor) -> Samples:
    return Samples((window[:, :HISTORY],), window[:, 1:])

"""`ks1d-memno`: chaos of which a coarse grid shows a part, forecast from what it remembers."""

from pathlib import Path
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from certisolve.manifest import Axis, Stepping, TensorSpec
from certisolve_zoo.data import Samples
from certisolve_zoo.operators.memno import MemNo1d
from certisolve_zoo.spec import ModelSpec
from certisolve_zoo.training import TrainingRun

from . import ks1d_data as ks
from .ks1d_solvers import FROM_HISTORY

NUM_STATES = 16


class KsMemory(nn.Module):
    """A memory neural operator in the units of the equation."""

    def __init__(self) -> None:
        super().__init__()
        self.network = MemNo1d(1, ks.WIDTH, ks.NUM_MODES, (2, 2), NUM_STATES)

    def forward(self, frames: Float[Tensor, "batch time x"]) -> Float[Tensor, "batch time x"]:
        """The successor of every frame, given it and those before it. For training."""
        return ks.SCALE * torch.squeeze(self.network(frames.unsqueeze(3) / ks.SCALE), 3)

    def step(
        self, frame: Float[Tensor, "batch x"], state: Float[Tensor, "batch x width 2 state"]
    ) -> tuple[Float[Tensor, "batch x"], Float[Tensor, "batch x width 2 state"]]:
        """The successor of one frame, and the memory after it. For serving."""
        following, state = self.network.step(frame.unsqueeze(2) / ks.SCALE, state)
        return ks.SCALE * following.squeeze(2), state

    def initial_state(
        self, frame: Float[Tensor, "batch x"]
    ) -> Float[Tensor, "batch x width 2 state"]:
        """The memory before the first frame: nothing."""
        return self.network.initial_state(frame.unsqueeze(2))


class KsMemoryStep(nn.Module):
    """`KsMemory.step` as the forward pass, which is what is exported.

    Args:
        model: whose weights it shares.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, frame: Float[Tensor, "batch x"], state: Float[Tensor, "batch x width 2 state"]
    ) -> tuple[Float[Tensor, "batch x"], Float[Tensor, "batch x width 2 state"]]:
        """The successor of one frame, and the memory after it."""
        return cast("ks.Recurrent", self.model).step(frame, state)


def architecture() -> nn.Module:
    """Two spectral layers of 48 channels, a memory of 16 states each, two more layers."""
    return KsMemory()


def train(run: TrainingRun) -> nn.Module:
    """On whole sequences by fast convolutions, then step by step on its own predictions."""
    model = architecture()
    return ks.train(model, model, ks.HISTORY, run)


def unseen(num_samples: int, cache: Path) -> list[Samples]:
    """Trajectories that training does not use."""
    del cache
    return [ks.samples(ks.UNSEEN_SEED, num_samples)]


def examples(batch_size: int) -> list[tuple[Tensor, ...]]:
    """Histories."""
    return [ks.samples(ks.EXAMPLE_SEED, batch_size).inputs]


def predict(model: nn.Module, history: Tensor) -> Tensor:
    """All frames of a solve."""
    return torch.as_tensor(ks.Forecast(model)(history))


SPEC = ModelSpec(
    name="ks1d-memno",
    version="1",
    family="memory-rollout",
    stepping=Stepping(
        dt=ks.DT,
        max_steps=ks.NUM_STEPS,
        states=(
            TensorSpec(
                name="memory",
                dtype="F32",
                axes=("x", "channel", "part", "state"),
                description="diagonal state spaces of each point",
            ),
        ),
    ),
    title="Kuramoto-Sivashinsky, ν = 0.1, seen on a coarse grid: a forecast from past frames",
    description=(
        "Memory neural operator (Buitrago Ruiz et al., 2024): Fourier layers in space, and between "
        "them a diagonal state space in time at every point. The input is a list of frames, 0.1 "
        "apart, the present one last. A frame holds the values of u at 64 points, neither averaged "
        "nor filtered: waves above the 32nd, a sixth of the energy, are folded onto the others, so "
        "that a frame alone does not determine the next one, but the frames before it nearly do. "
        "The errors are those of histories of ten frames. With 5, 3, 2 frames or a single one they "
        "are 0.27, 0.33, 0.38 and 0.53: for a single frame, take `ks1d-ffno`, which has no memory "
        "and is better at that. They hold for "
        "developed chaos, a time of 4 or more after a smooth start, and for u of zero mean over "
        "the interval; its mean over the 64 points is that of waves folded onto it, a percent of "
        "u, and changes."
    ),
    equation=ks.EQUATION,
    axes={
        "history": Axis(kind="points", minimum=1, maximum=ks.HISTORY),
        "x": ks.AXIS,
        "channel": Axis(kind="channel", size=ks.WIDTH),
        "part": Axis(kind="channel", size=2, labels=("real", "imaginary")),
        "state": Axis(kind="channel", size=NUM_STATES),
    },
    inputs=(
        TensorSpec(
            name="u",
            dtype="F32",
            axes=("history", "x"),
            description="u at the last times, the present one last, every 0.1",
            minimum=-ks.LARGEST,
            maximum=ks.LARGEST,
        ),
    ),
    outputs=(ks.OUTPUT,),
    parameters=(ks.PARAMETER,),
    t=ks.TIMES,
    error_times=ks.ERROR_TIMES,
    grid_limits=ks.GRID_LIMITS,
    resolutions=({"x": ks.POINTS},),
    unvalidated_resolution="refuse",
    metric="rel_l2",
    max_batch_size=256,
    seed=0,
    data=ks.DATA,
    recipe=ks.recipe("whole sequences, by convolution in time"),
    architecture=architecture,
    train=train,
    unseen=unseen,
    examples=examples,
    served=KsMemoryStep,
    predict=predict,
    solvers=FROM_HISTORY,
)

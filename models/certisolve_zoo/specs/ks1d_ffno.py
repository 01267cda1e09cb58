"""`ks1d-ffno`: the twin without memory of `ks1d-memno`, which shows what memory is worth."""

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from certisolve.manifest import Stepping, TensorSpec
from certisolve_zoo.data import Samples
from certisolve_zoo.operators.ffno import Ffno1d
from certisolve_zoo.spec import ModelSpec
from certisolve_zoo.training import TrainingRun

from . import ks1d_data as ks
from .ks1d_solvers import FROM_FRAME

NUM_LAYERS = 4


class KsMarkov(nn.Module):
    """A factorised Fourier neural operator in the units of the equation."""

    def __init__(self) -> None:
        super().__init__()
        self.network = Ffno1d(1, ks.WIDTH, ks.NUM_MODES, NUM_LAYERS)

    def forward(self, frame: Float[Tensor, "batch x"]) -> Float[Tensor, "batch x"]:
        """The frame after one."""
        return ks.SCALE * torch.squeeze(self.network(frame.unsqueeze(2) / ks.SCALE), 2)

    def step(
        self, frame: Float[Tensor, "batch x"], state: Float[Tensor, "batch 0"]
    ) -> tuple[Float[Tensor, "batch x"], Float[Tensor, "batch 0"]]:
        """The frame after one, and an empty memory."""
        return self(frame), state

    def initial_state(self, frame: Float[Tensor, "batch x"]) -> Float[Tensor, "batch 0"]:
        """No memory."""
        return frame[:, :0]


class FrameByFrame(nn.Module):
    """The successors of many frames at once, of each by itself. For training.

    Args:
        model: takes one frame; the weights are shared.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, frames: Float[Tensor, "batch time x"]) -> Float[Tensor, "batch time x"]:
        """The successor of every frame."""
        return torch.as_tensor(self.model(frames.flatten(0, 1)).view(frames.shape))


def architecture() -> nn.Module:
    """Four spectral layers of 48 channels, as many as around the memory of the twin."""
    return KsMarkov()


def train(run: TrainingRun) -> nn.Module:
    """On single steps, then on its own predictions, with the schedule and data of the twin."""
    model = architecture()
    return ks.train(model, FrameByFrame(model), 1, run)


def unseen(num_samples: int, cache: Path) -> list[Samples]:
    """Trajectories that training does not use, from the present frame on."""
    del cache
    samples = ks.samples(ks.UNSEEN_SEED, num_samples)
    return [Samples((samples.inputs[0][:, -1],), samples.target)]


def examples(batch_size: int) -> list[tuple[Tensor, ...]]:
    """Frames."""
    return [(ks.samples(ks.EXAMPLE_SEED, batch_size).inputs[0][:, -1],)]


def predict(model: nn.Module, frame: Tensor) -> Tensor:
    """All frames of a solve."""
    return torch.as_tensor(ks.Forecast(model, given=1)(frame.unsqueeze(1)))


SPEC = ModelSpec(
    name="ks1d-ffno",
    version="1",
    family="rollout",
    stepping=Stepping(dt=ks.DT, max_steps=ks.NUM_STEPS),
    title="Kuramoto-Sivashinsky, ν = 0.1, seen on a coarse grid: a forecast without memory",
    description=(
        "The twin of `ks1d-memno`: the same Fourier layers, data and schedule, but each frame is "
        "predicted from the one before it alone. It is here to show what memory is worth: where "
        "earlier frames are known, `ks1d-memno` makes less than half the error, a "
        "sixth of it in the first frame. A frame holds the values of u at 64 points, "
        "neither averaged nor filtered, of developed chaos, a time of 4 or more after a smooth "
        "start, with zero mean over the interval."
    ),
    equation=ks.EQUATION,
    axes={"x": ks.AXIS},
    inputs=(
        TensorSpec(
            name="u",
            dtype="F32",
            axes=("x",),
            description="u at present",
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
    recipe=ks.recipe("single steps, from each frame of the same sequences"),
    architecture=architecture,
    train=train,
    unseen=unseen,
    examples=examples,
    predict=predict,
    solvers=FROM_FRAME,
)

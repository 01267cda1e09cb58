"""`burgers1d-fno`: Burgers' equation at ν = 0.01, from the initial condition to time 1."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR

from certisolve.manifest import Axis, ParameterSpec, Postprocess, TensorSpec
from certisolve_zoo.data import BURGERS_POINTS, Samples, burgers_samples, minibatches
from certisolve_zoo.operators.fno import Fno1d
from certisolve_zoo.pdes.burgers import cole_hopf
from certisolve_zoo.spec import ClassicalSolver, ModelSpec
from certisolve_zoo.training import TrainingRun, fit, relative_l2

NU = 0.01
TIME = 1.0
RESOLUTIONS = (256, 512, 1024)
# Most batches are on the coarsest grid, where a step costs a quarter of one on the finest.
RESOLUTION_SHARES = (0.7, 0.2, 0.1)
NUM_MODES = 24
EPOCHS = 100
SAMPLES_PER_EPOCH = 4096
BATCH_SIZE = 32
LEARNING_RATE = 2e-3
UNSEEN_SEED = (1_000_000, 0)
EXAMPLE_SEED = (1_000_000, 1)


def architecture() -> nn.Module:
    """Four spectral layers of 64 channels."""
    return Fno1d(width=64, num_modes=NUM_MODES, num_layers=4)


def train(run: TrainingRun) -> nn.Module:
    """Adam on the relative L2 error, one-cycle schedule, fresh samples in every epoch."""
    model = architecture()
    num_epochs = run.num_epochs(EPOCHS)
    optimizer = torch.optim.Adam(model.parameters(), LEARNING_RATE)
    steps = num_epochs * (SAMPLES_PER_EPOCH // BATCH_SIZE)
    fit(
        model,
        optimizer,
        (_epoch(run.seed, epoch) for epoch in range(num_epochs)),
        num_epochs=num_epochs,
        loss=lambda prediction, target: relative_l2(prediction, target).mean(),
        run=run,
        schedule=OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps, pct_start=0.1),
    )
    return model


def unseen(num_samples: int, cache: Path) -> list[Samples]:
    """Initial conditions that no epoch draws, and their solutions, at each resolution."""
    del cache
    samples = burgers_samples(UNSEEN_SEED, num_samples, nu=NU, t=TIME)
    return [_subsample(samples, resolution) for resolution in RESOLUTIONS]


def examples(batch_size: int) -> list[tuple[Tensor, ...]]:
    """Initial conditions at each resolution."""
    samples = burgers_samples(EXAMPLE_SEED, batch_size, nu=NU, t=TIME)
    return [_subsample(samples, resolution).inputs for resolution in RESOLUTIONS]


def conserved(network: nn.Module) -> tuple[Postprocess, ...]:
    """The equation keeps the integral of u, and so does the answer."""
    del network
    return (Postprocess(kind="conserve", output="u", integral_of="u0"),)


def predict(network: nn.Module, initial_condition: Tensor) -> Tensor:
    """The network's field, moved to the mean of the initial condition."""
    field = network(initial_condition).double()
    mean = initial_condition.double().mean(dim=1, keepdim=True)
    return torch.as_tensor(field - field.mean(dim=1, keepdim=True) + mean).float()


def solve(initial_condition: np.ndarray) -> np.ndarray:
    """The exact solution."""
    return cole_hopf(initial_condition.astype(np.float64), TIME, NU)


def _epoch(seed: int, epoch: int) -> Iterator[Samples]:
    generator = torch.Generator().manual_seed(1_000_000 * seed + epoch)
    samples = burgers_samples((seed, epoch), SAMPLES_PER_EPOCH, nu=NU, t=TIME)
    shares = torch.tensor(RESOLUTION_SHARES)
    for index in minibatches(SAMPLES_PER_EPOCH, BATCH_SIZE, generator):
        choice = int(torch.multinomial(shares, 1, generator=generator))
        yield _subsample(samples[index], RESOLUTIONS[choice])


def _subsample(samples: Samples, resolution: int) -> Samples:
    stride = BURGERS_POINTS // resolution
    inputs = tuple(tensor[:, ::stride].contiguous() for tensor in samples.inputs)
    return Samples(inputs, samples.target[:, ::stride].contiguous())


SPEC = ModelSpec(
    name="burgers1d-fno",
    version="2",
    title="Burgers' equation, ν = 0.01: initial condition to solution at t = 1",
    description=(
        "Fourier neural operator without a coordinate channel, hence exactly equivariant to "
        "shifts by whole grid cells. It expects initial conditions of zero mean, drawn from or "
        "like the Gaussian random field it was trained on. For a mean c: subtract c, solve, shift "
        "the answer by c·t and add c, which is exact by Galilean invariance."
    ),
    equation="u_t + (u²/2)_x = ν u_xx on (0, 1), periodic, u(x, 0) = u0(x)",
    axes={"x": Axis(kind="grid", lower=0.0, upper=1.0, convention="periodic", boundary="periodic")},
    inputs=(
        TensorSpec(
            name="u0",
            dtype="F32",
            axes=("x",),
            description="velocity at t = 0, of zero mean",
            minimum=-3.0,
            maximum=3.0,
            # A mean c that is taken for zero costs about 12 c in relative error.
            max_abs_mean=5e-5,
        ),
    ),
    outputs=(TensorSpec(name="u", dtype="F32", axes=("x",), description="velocity at t = 1"),),
    parameters=(
        ParameterSpec(
            name="nu", minimum=NU, maximum=NU, default=NU, description="viscosity ν, built in"
        ),
    ),
    t=(TIME,),
    grid_limits=(2 * NUM_MODES, 8192),
    resolutions=tuple({"x": resolution} for resolution in RESOLUTIONS),
    unvalidated_resolution="resample",
    metric="rel_l2",
    max_batch_size=256,
    seed=0,
    data=(
        f"{SAMPLES_PER_EPOCH} fresh samples in every epoch: u0 a Gaussian random field with "
        "σ = 25, τ = 5, γ = 2 (Li et al., 2020) on 1024 points, u(1) its exact solution by the "
        "Cole-Hopf transformation; 70 % of the batches sub-sampled to 256 points, 20 % to 512"
    ),
    recipe=(
        f"{EPOCHS} epochs of Adam, one-cycle learning rate up to {LEARNING_RATE}, batches of "
        f"{BATCH_SIZE}, relative L2 loss"
    ),
    architecture=architecture,
    train=train,
    unseen=unseen,
    examples=examples,
    postprocess=conserved,
    predict=predict,
    solvers=(
        ClassicalSolver(
            name="Cole-Hopf transformation, numpy FFT, float64",
            grid="1024 working points",
            solve=solve,
            remark=(
                "The classical solver is exact to 1e-14 and faster: use this model for its "
                "derivatives, bounds and batching, not for speed"
            ),
        ),
    ),
)

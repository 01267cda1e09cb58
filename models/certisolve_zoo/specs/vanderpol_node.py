"""`vanderpol-node`: a neural ODE whose stiffness is chosen by the request."""

import copy
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from certisolve.manifest import Axis, Integration, ParameterSpec, TensorSpec
from certisolve_zoo.data import Samples
from certisolve_zoo.ode.field import VectorField
from certisolve_zoo.ode.flow import flow
from certisolve_zoo.ode.scales import TwoScaleField
from certisolve_zoo.pdes.vanderpol import slopes, solve_vanderpol
from certisolve_zoo.spec import ModelSpec
from certisolve_zoo.training import TrainingRun, fit

from .vanderpol_solvers import solvers

SMALLEST_MU, LARGEST_MU, DEFAULT_MU = 0.5, 50.0, 5.0
HALF_WIDTH = 2.5  # of the square of initial states
# Where the field is learned: all states of all μ, and for μ of 1 and more.
REACH = (2.8, 6.0)
USUAL_REACH = 2.8
NUM_STATES = 4096
NUM_EPOCHS = 800
ITERATIONS_PER_EPOCH = 20
# torch's L-BFGS skips updates of its Hessian where products of steps and gradients are small.
LOSS_SCALE = 1e6
RTOL, ATOL = 1e-5, 1e-6
# LSODA needs it for errors of 1e-5, which steps of Tsitouras and Rodas3 make with the above.
FLOW_RTOL = 1e-6
HORIZON = 20.0
TIMES = tuple(0.5 * (frame + 1) for frame in range(40))
UNSEEN_SEED = 1_000_000


def architecture() -> nn.Module:
    """A field of 4,482 parameters."""
    return TwoScaleField(_field(by_row=True))


def train(run: TrainingRun) -> nn.Module:
    """L-BFGS in float64 on derivatives at random states; no trajectory is seen."""
    field = _field().double()
    optimizer = torch.optim.LBFGS(
        field.parameters(),
        max_iter=ITERATIONS_PER_EPOCH,
        history_size=100,
        tolerance_grad=1e-14,
        tolerance_change=1e-16,
        line_search_fn="strong_wolfe",
    )
    num_epochs, slopes = run.num_epochs(NUM_EPOCHS), _slopes(run.seed)
    fit(
        field,
        optimizer,
        ([slopes] for _ in range(num_epochs)),
        num_epochs=num_epochs,
        loss=lambda learned, exact: LOSS_SCALE * functional.mse_loss(learned, exact),
        run=run,
    )
    learned = architecture()
    learned.load_state_dict(TwoScaleField(field.float()).state_dict())
    return learned


def unseen(num_samples: int, cache: Path) -> list[Samples]:
    """Trajectories from random states, of μ spread evenly in its logarithm."""
    del cache
    y0, mu = _requests(UNSEEN_SEED, num_samples)
    truth = solve_vanderpol(y0.double().numpy(), mu.double().numpy(), np.array(TIMES))
    return [Samples((y0, mu), torch.from_numpy(truth).float())]


def examples(batch_size: int) -> list[tuple[Tensor, ...]]:
    """Other states and μ."""
    return [_requests(UNSEEN_SEED + 1, batch_size)]


def predict(network: nn.Module, y0: Tensor, mu: Tensor) -> Tensor:
    """The states at `TIMES`, with about the errors that steps to the manifest's tolerance make."""
    precise = copy.deepcopy(network).double()
    return flow(precise, y0, TIMES, mu, rtol=FLOW_RTOL, atol=0.1 * FLOW_RTOL).float()


def _field(*, by_row: bool = False) -> VectorField:
    return VectorField(2, (64, 64), sizes=REACH, by_row=by_row)


def _slopes(seed: int) -> Samples:
    """Random states and the derivatives of μ = 1."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-REACH[0], REACH[0], NUM_STATES)
    usual = rng.uniform(-USUAL_REACH, USUAL_REACH, NUM_STATES // 2)
    y = np.concatenate([usual, rng.uniform(-REACH[1], REACH[1], NUM_STATES - len(usual))])
    states = np.stack([x, y], axis=-1)
    return Samples((torch.from_numpy(states),), torch.from_numpy(slopes(states, 1.0)))


def _requests(seed: int, num_samples: int) -> tuple[Tensor, Tensor]:
    """Initial states and μ; a longer set begins with the shorter."""
    drawn = np.random.default_rng(seed).uniform(size=(num_samples, 3))
    y0 = HALF_WIDTH * (2 * drawn[:, :2] - 1)
    mu = SMALLEST_MU * (LARGEST_MU / SMALLEST_MU) ** drawn[:, 2]
    return torch.from_numpy(y0).float(), torch.from_numpy(mu).float()


SPEC = ModelSpec(
    name="vanderpol-node",
    version="1",
    family="ode",
    integration=Integration(
        method="tsit5",
        rtol=RTOL,
        atol=ATOL,
        smallest_rtol=1e-6,
        max_steps=20_000,
        horizon=HORIZON,
    ),
    title="The oscillator of Van der Pol, from gentle to stiff",
    description=(
        "Neural ODE in Liénard's coordinates: its scales of time, μ and 1/μ, are given, the rest "
        "is a perceptron that was trained on derivatives and has seen no trajectory. With μ, "
        "requests differ in stiffness by a factor of 10⁴, and each takes steps of its own, the "
        "same alone and in company: no matrix product mixes the roundings of rows. The errors are "
        "those of μ spread evenly in its logarithm over the whole range. Two things add to them "
        "with time: the phase of the cycle drifts, and a jump from one branch of a stiff cycle to "
        "the other that comes late or early by very little is off by up to 4 for that while, which "
        "makes the worst error that much larger than the mean. Beyond t = "
        f"{HORIZON:g} answers are flagged."
    ),
    equation="x' = μ (x - x³/3 - y),  y' = x/μ",
    axes={"state": Axis(kind="channel", size=2, labels=("x", "y"))},
    inputs=(
        TensorSpec(
            name="y",
            dtype="F32",
            axes=("state",),
            description="x and y at t = 0",
            minimum=-HALF_WIDTH,
            maximum=HALF_WIDTH,
        ),
    ),
    outputs=(
        TensorSpec(name="y", dtype="F32", axes=("state",), description="x and y at each time t"),
    ),
    parameters=(
        ParameterSpec(
            name="mu",
            minimum=SMALLEST_MU,
            maximum=LARGEST_MU,
            default=DEFAULT_MU,
            description="damping μ; motions across the cycle are μ² faster than along it",
            program_input=True,
        ),
    ),
    t=TIMES,
    error_times=(1.0, 5.0, 10.0, HORIZON),
    resolutions=({},),
    unvalidated_resolution="refuse",
    metric="rmse",
    max_batch_size=256,
    seed=0,
    data=(
        f"{NUM_STATES} random states and the exact derivatives there: x uniform in "
        f"±{REACH[0]:g}, y uniform in ±{USUAL_REACH:g} for one half and ±{REACH[1]:g} for the other"
    ),
    recipe=(
        f"L-BFGS in float64 on the mean squared error of the derivatives, {NUM_EPOCHS} times "
        f"{ITERATIONS_PER_EPOCH} iterations"
    ),
    architecture=architecture,
    train=train,
    unseen=unseen,
    examples=examples,
    predict=predict,
    solvers=solvers(TIMES),
)

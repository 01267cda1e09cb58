"""`kan-formula`: a Kolmogorov-Arnold network that has learned a formula of two variables."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from certisolve.manifest import Axis, TensorSpec
from certisolve_zoo.data import Samples
from certisolve_zoo.kan.network import Kan
from certisolve_zoo.spec import ClassicalSolver, ModelSpec
from certisolve_zoo.training import TrainingRun, fit

WIDTHS = (2, 5, 1)
GRIDS = (3, 5, 10, 20, 50)
STEPS_PER_GRID = (15, 15, 20, 20, 15)
ITERATIONS_PER_STEP = 20
HISTORY = 50
NUM_POINTS = 6000
COVER = 101  # points per axis of the lattice that hidden grid boxes are fitted to
NUM_EXAMPLE_POINTS = 64
UNSEEN_POINTS = 1000
UNSEEN_SEED = 1_000_000


class ActivationRangeError(ValueError):
    """Hidden activations leave the grids of their splines, where the network is meaningless."""


def architecture() -> nn.Module:
    """Five hidden sums, and on every edge the grid on which training ends."""
    return Kan(WIDTHS, GRIDS[-1])


def train(run: TrainingRun) -> nn.Module:
    """L-BFGS in float64 on ever finer grids, each starting from the function of the last."""
    samples = _samples(run.seed, 1, NUM_POINTS, edges=True)
    axis = torch.linspace(-1, 1, COVER, dtype=torch.float64)
    cover = torch.cartesian_prod(axis, axis).T[:, None]
    network = Kan(WIDTHS, GRIDS[0]).double()
    for num_intervals, steps in zip(GRIDS, STEPS_PER_GRID, strict=True):
        network = network.refined(num_intervals, *cover)
        _train_on_grid(network, samples, run.num_epochs(steps), run)
    excess = network.excess(*cover)
    run.console.print(f"model={run.name} activation_excess={excess:.3e}", highlight=False)
    if excess > 0:
        raise ActivationRangeError(f"{run.name}: by {excess:.3e}; train with another seed")
    return network.float()


def unseen(num_samples: int, cache: Path) -> list[Samples]:
    """Uniform random points and the formula's values."""
    del cache
    samples = _samples(UNSEEN_SEED, num_samples, UNSEEN_POINTS)
    return [Samples(tuple(tensor.float() for tensor in samples.inputs), samples.target)]


def examples(batch_size: int) -> list[tuple[Tensor, ...]]:
    """Uniform random points."""
    samples = _samples(UNSEEN_SEED + 1, batch_size, NUM_EXAMPLE_POINTS)
    return [tuple(tensor.float() for tensor in samples.inputs)]


def formula(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """f(x, y) = exp(sin(πx) + y²)."""
    return np.asarray(np.exp(np.sin(np.pi * x) + y**2))


def _train_on_grid(network: Kan, samples: Samples, steps: int, run: TrainingRun) -> None:
    optimizer = torch.optim.LBFGS(
        network.parameters(),
        max_iter=ITERATIONS_PER_STEP,
        history_size=HISTORY,
        tolerance_grad=1e-12,
        tolerance_change=1e-14,
        line_search_fn="strong_wolfe",
    )
    epochs = ([samples] for _ in range(steps))
    fit(network, optimizer, epochs, num_epochs=steps, loss=functional.mse_loss, run=run)


def _samples(seed: int, batch_size: int, num_points: int, *, edges: bool = False) -> Samples:
    """Random points of the square; with `edges` half of them gather at its sides."""
    generator = torch.Generator().manual_seed(seed)
    shape = (2, batch_size, num_points)
    uniform = 2 * torch.rand(shape, generator=generator, dtype=torch.float64) - 1
    if edges:
        half = num_points // 2
        uniform[..., :half] = torch.sin(0.5 * torch.pi * uniform[..., :half])
    x, y = uniform
    return Samples((x, y), torch.from_numpy(formula(x.numpy(), y.numpy())))


SPEC = ModelSpec(
    name="kan-formula",
    version="1",
    title="A learned formula: exp(sin(πx) + y²)",
    description=(
        "Kolmogorov-Arnold network, cubic splines on 50 intervals per edge. Outside "
        "[-1, 1]² the splines end and the answer would be meaningless: such points are refused. "
        "Hidden activations stay inside their grids on the whole square, checked in training."
    ),
    equation="f(x, y) = exp(sin(πx) + y²) on [-1, 1]²",
    axes={"points": Axis(kind="points", minimum=1, maximum=65536)},
    inputs=tuple(
        TensorSpec(
            name=name,
            dtype="F32",
            axes=("points",),
            description=f"{name} of each point",
            minimum=-1.0,
            maximum=1.0,
        )
        for name in ("x", "y")
    ),
    outputs=(
        TensorSpec(name="f", dtype="F32", axes=("points",), description="f(x, y) at each point"),
    ),
    resolutions=({},),
    unvalidated_resolution="refuse",
    metric="rmse",
    max_batch_size=16,
    seed=3,
    data=f"{NUM_POINTS} random points, half uniform and half gathered at the sides of the square",
    recipe=(
        f"L-BFGS in float64 on the mean squared error, {ITERATIONS_PER_STEP} times "
        f"{STEPS_PER_GRID} iterations on grids of {GRIDS} intervals, splines carried over by "
        "least squares"
    ),
    architecture=architecture,
    train=train,
    unseen=unseen,
    examples=examples,
    solvers=(
        ClassicalSolver(
            name="the formula itself, numpy, float32",
            grid="none",
            solve=formula,
            remark=(
                f"Per call of {UNSEEN_POINTS} points. The formula is exact and cheaper; the "
                "network shows that it can be recovered from values, and bounded"
            ),
        ),
    ),
)

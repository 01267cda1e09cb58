"""`kan-formula`: a Kolmogorov-Arnold network that has learned a formula of two variables."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from certisolve.manifest import Axis, TensorSpec
from certisolve_zoo.data import Samples
from certisolve_zoo.kan.network import Kan
from certisolve_zoo.kan.range_check import KnotExcess
from certisolve_zoo.kan.sparsity import PruningError, SparseSchedule, train_sparse
from certisolve_zoo.kan.training import GridSchedule, square_points, train_on_grids
from certisolve_zoo.spec import AnswerChecks, ClassicalSolver, ModelSpec
from certisolve_zoo.training import TrainingRun

FIRST_WIDTHS, WIDTHS = (2, 5, 1), (2, 1, 1)
FIRST_GRID = 3
SPARSE = SparseSchedule(num_intervals=5, steps=(5, 25), weight=1e-2)
SCHEDULE = GridSchedule(grids=(5, 10, 20, 50), steps=(15, 20, 30, 40))
NUM_POINTS = 6000
NUM_EXAMPLE_POINTS = 64
UNSEEN_POINTS = 1000
UNSEEN_SEED = 1_000_000


def architecture() -> nn.Module:
    """The one hidden sum that pruning leaves, and the grids on which training ends."""
    return Kan(WIDTHS, SCHEDULE.grids[-1])


def train(run: TrainingRun) -> nn.Module:
    """Five hidden sums and a penalty on their number, then what is left on ever finer grids."""
    samples = training_samples(run.seed)
    network = Kan(FIRST_WIDTHS, FIRST_GRID).double()
    network = train_sparse(network, samples, SPARSE, run)
    if network.widths != WIDTHS:
        raise PruningError(f"{run.name}: pruned to {network.widths}, not to {WIDTHS}")
    return train_on_grids(network, samples, SCHEDULE, functional.mse_loss, run).float()


def training_samples(seed: int) -> Samples:
    """Random points, half of them near the sides of the square, and the formula's values."""
    return _samples(seed, 1, NUM_POINTS, edges=True)


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


def _samples(seed: int, batch_size: int, num_points: int, *, edges: bool = False) -> Samples:
    x, y = square_points(seed, batch_size, num_points, edges=edges)
    return Samples((x, y), torch.from_numpy(formula(x.numpy(), y.numpy())))


SPEC = ModelSpec(
    name="kan-formula",
    version="2",
    title="A learned formula: exp(sin(πx) + y²)",
    description=(
        "Kolmogorov-Arnold network 2-1-1, pruned from 2-5-1, cubic splines on "
        f"{SCHEDULE.grids[-1]} intervals per edge. Outside [-1, 1]² the splines end and the answer "
        "would be meaningless: such points are refused. Hidden activations stay inside their grids "
        "on the whole square, checked in training and with every answer."
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
        f"mean squared error; {FIRST_WIDTHS} with {SPARSE}, pruned to {WIDTHS}; then {SCHEDULE}"
    ),
    architecture=architecture,
    train=train,
    unseen=unseen,
    examples=examples,
    checks=AnswerChecks(names=("knot_excess",), module=KnotExcess),
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

"""`poisson-dcdm`: Poisson's equation in faulted rock, by conjugate directions of a network."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR

from certisolve.manifest import Axis, TensorSpec
from certisolve_zoo.data import Samples
from certisolve_zoo.directions.loop import Solution, solve_along_directions
from certisolve_zoo.directions.network import SymmetricDirections
from certisolve_zoo.directions.operator import FiniteVolumes
from certisolve_zoo.directions.pool import POOL_SIZE, ProblemPool
from certisolve_zoo.directions.ritz import NUM_STEPS, ritz_right_hand_sides
from certisolve_zoo.pdes.finite_volumes import finite_volume_matrix, solve_cells_directly
from certisolve_zoo.pdes.poisson import faulted_coefficient, random_sources
from certisolve_zoo.spec import LinearSystem, ModelSpec
from certisolve_zoo.training import TrainingRun, fit

from .poisson_solvers import directly, ladder

NUM_CELLS = 64
TOLERANCE, SMALLEST_TOLERANCE = 1e-8, 1e-11
MAX_ITERATIONS = 500
NUM_FIELDS, SOLUTIONS_PER_FIELD = 512, 8
# A trained network needs fewer steps to 1e-8, so that the last of these are later still.
STEPS_PER_PROBLEM = 12
EPOCHS = 30
BATCHES_PER_EPOCH = 200
BATCH_SIZE = 16
LEARNING_RATE = 3e-3
UNSEEN_SEED = (1_000_000, 8)
EXAMPLE_SEED = (1_000_000, 9)
_AXIS = Axis(kind="grid", lower=0.0, upper=1.0, convention="cells", boundary="u = 0")


def architecture() -> nn.Module:
    """Six grids, 64² to 2²."""
    return SymmetricDirections()


def train(run: TrainingRun) -> nn.Module:
    """Adam on the energy that each step of the iteration leaves."""
    model = architecture()
    num_epochs = run.num_epochs(EPOCHS)
    optimizer = torch.optim.Adam(model.parameters(), LEARNING_RATE)
    pool = _pool(run.seed)
    fit(
        model,
        optimizer,
        _epochs(pool, num_epochs),
        num_epochs=num_epochs,
        loss=pool.loss,
        run=run,
        schedule=OneCycleLR(
            optimizer, LEARNING_RATE, total_steps=num_epochs * BATCHES_PER_EPOCH, pct_start=0.1
        ),
    )
    return model


def unseen(num_samples: int, cache: Path) -> list[Samples]:
    """Problems that training does not draw, with their direct solutions."""
    del cache
    a, f = _problems(UNSEEN_SEED, num_samples)
    return [Samples((torch.from_numpy(a), torch.from_numpy(f)), torch.from_numpy(directly(a, f)))]


def examples(batch_size: int) -> list[tuple[Tensor, ...]]:
    """Coefficients and sources."""
    a, f = _problems(EXAMPLE_SEED, batch_size)
    return [(torch.from_numpy(a), torch.from_numpy(f))]


def predict(network: nn.Module, a: Tensor, f: Tensor) -> Tensor:
    """The solution, to the default tolerance."""
    return iterate(network, a, f).x


def iterate(network: nn.Module, a: Tensor, f: Tensor, tolerance: float = TOLERANCE) -> Solution:
    """The solution with its number of iterations and its residual.

    Args:
        network: of directions, in float32.
        a: coefficients in cells, float64.
        f: sources in cells, float64.
        tolerance: of the residual.
    """
    operator, rough = FiniteVolumes(), a.float()
    return solve_along_directions(
        lambda x: operator(x, a),
        lambda r: network(r.float(), rough),
        f,
        tolerance=tolerance,
        max_iterations=MAX_ITERATIONS,
    )


def _problems(seed: tuple[int, ...], num_samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients and sources; each problem has a seed, so that a longer set begins as a shorter.

    The three sorts of sources take turns.
    """
    coefficients, sources = [], []
    for index in range(num_samples):
        rng = np.random.default_rng((*seed, index))
        coefficients += [*faulted_coefficient(rng, 1, NUM_CELLS)]
        sources.append(random_sources(rng, 3, NUM_CELLS)[index % 3])
    return np.stack(coefficients), np.stack(sources)


def _pool(seed: int) -> ProblemPool:
    rng = np.random.default_rng(seed)
    a = faulted_coefficient(rng, NUM_FIELDS, NUM_CELLS)
    solutions = [_ritz_solutions(field, rng) for field in a]
    return ProblemPool(
        FiniteVolumes(),
        torch.from_numpy(a).float(),
        torch.from_numpy(np.stack(solutions)),
        STEPS_PER_PROBLEM,
        torch.Generator().manual_seed(seed),
    )


def _ritz_solutions(a: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    loads = ritz_right_hand_sides(finite_volume_matrix(a), rng, SOLUTIONS_PER_FIELD)
    return solve_cells_directly(a, loads.reshape(-1, *a.shape)).astype(np.float32)


def _epochs(pool: ProblemPool, num_epochs: int) -> Iterator[Iterator[Samples]]:
    for _ in range(num_epochs):
        yield pool.batches(BATCHES_PER_EPOCH, BATCH_SIZE)


SPEC = ModelSpec(
    name="poisson-dcdm",
    version="1",
    family="iterative-solver",
    system=LinearSystem(
        operator=FiniteVolumes,
        right_hand_side="f",
        tolerance=TOLERANCE,
        smallest_tolerance=SMALLEST_TOLERANCE,
        max_iterations=MAX_ITERATIONS,
    ),
    title="Poisson's equation with a variable coefficient: coefficient and source to solution",
    description=(
        "Conjugate directions that a convolutional network proposes, one per iteration: a linear, "
        "symmetric and positive definite map of the residual on six grids, steered by a. The "
        "iteration ends at the residual that was asked for, measured in float64: weights decide "
        "how soon, not how good. A step is never worse than one of steepest descent."
    ),
    equation="-∇·(a ∇u) = f on (0, 1)², u = 0 on the boundary; two-point fluxes between cells",
    axes={"y": _AXIS, "x": _AXIS},
    inputs=(
        TensorSpec(
            name="a",
            dtype="F64",
            axes=("y", "x"),
            description="coefficient in the cells, positive",
            minimum=0.01,
            maximum=100.0,
        ),
        TensorSpec(
            name="f", dtype="F64", axes=("y", "x"), description="source, mean over each cell"
        ),
    ),
    outputs=(
        TensorSpec(name="u", dtype="F64", axes=("y", "x"), description="solution in the cells"),
    ),
    grid_limits=(NUM_CELLS, 256),
    grid_multiple=32,
    resolutions=({"y": NUM_CELLS, "x": NUM_CELLS},),
    unvalidated_resolution="refuse",
    metric="rel_l2",
    max_batch_size=64,
    seed=0,
    data=(
        f"{NUM_FIELDS} coefficients 2^(±1) exp(2 G) in 64² cells, G and the field whose sign picks "
        f"the factor Gaussian (α = 2, τ = 3); for each {SOLUTIONS_PER_FIELD} right-hand sides that "
        f"combine {NUM_STEPS} Ritz vectors, the lower half nine times as large (Kaneda et al., "
        f"2023), solved directly; and all residuals that the iteration meets on its way from them, "
        f"{STEPS_PER_PROBLEM} steps each with the weights of the moment, in a pool of {POOL_SIZE}"
    ),
    recipe=(
        f"{EPOCHS} epochs of {BATCHES_PER_EPOCH} batches of {BATCH_SIZE} steps of the iteration; "
        f"Adam, one-cycle learning rate up to {LEARNING_RATE}, on the mean logarithm of the share "
        "of the energy |x - x*|_A² that a step leaves"
    ),
    architecture=architecture,
    train=train,
    unseen=unseen,
    examples=examples,
    predict=predict,
    solvers=ladder((1e-4, TOLERANCE, 0.1 * TOLERANCE)),
)

"""Colebrook's law found in its implicit form, by a network that is only read and never served.

    1/√f = law(ε, s),   s = 1/(Re √f)

Not the friction factor, which follows from the law by solving it, but the law itself is a sum
inside one function. Given the group s, as it is by dimensional analysis of the viscous sublayer,
the penalty prunes five hidden sums to one. Re goes from 3.6e3 to 3.3e4, for on wider ranges
the logarithm bends too sharply for a uniform grid.

    python -m certisolve_zoo.friction_law

trains it in half a minute and writes its weights, from which `symbols friction-law` reads the law.
"""

from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional

from .data import Samples
from .kan.network import Kan
from .kan.sparsity import PruningError, SparseSchedule, train_sparse
from .kan.training import GridSchedule, square_points, train_on_grids
from .pdes.friction import friction_factor
from .records import WEIGHTS
from .training import TrainingRun

NAME = "kan-friction-law"
FIRST_WIDTHS, WIDTHS = (2, 5, 1), (2, 1, 1)
FIRST_GRID = 3
SPARSE = SparseSchedule(num_intervals=5, steps=(5, 25), weight=1e-2)
SCHEDULE = GridSchedule(grids=(5, 10, 20, 50), steps=(15, 15, 15, 15), history=300)
NUM_POINTS = 3000
SEED, UNSEEN_SEED = 1, 3_000_000
# Middle and half width of ε and of s.
ROUGHNESS, SUBLAYER = (0.025, 0.025), (6e-4, 4e-4)


def train(run: TrainingRun) -> Kan:
    """Five hidden sums and a penalty on their number, then what is left on finer grids."""
    data = samples(run.seed, NUM_POINTS)
    network = train_sparse(Kan(FIRST_WIDTHS, FIRST_GRID).double(), data, SPARSE, run)
    if network.widths != WIDTHS:
        raise PruningError(f"{run.name}: pruned to {network.widths}, not to {WIDTHS}")
    return train_on_grids(network, data, SCHEDULE, functional.mse_loss, run).float()


def samples(seed: int, num_points: int) -> Samples:
    """Pipes in the coordinates of the network, and 1/√f by solving the law for f.

    With s = 1/(Re √f) and any first f, Re = 1/(s √f) gives the next; the law forgets the first.
    """
    u, w = square_points(seed, 1, num_points, edges=True)
    roughness = (ROUGHNESS[0] + ROUGHNESS[1] * u).numpy()
    sublayer = (SUBLAYER[0] + SUBLAYER[1] * w).numpy()
    x = np.full_like(roughness, 5.0)
    for _ in range(60):
        x = friction_factor(x / sublayer, roughness) ** -0.5
    return Samples((u, w), torch.from_numpy(x))


def load(weights: Path) -> nn.Module:
    """The trained network."""
    network = Kan(WIDTHS, SCHEDULE.grids[-1])
    network.load_state_dict(load_file(weights / f"{NAME}.safetensors"))
    return network.eval().requires_grad_(False)


def main() -> None:
    """Train and write the weights."""
    torch.manual_seed(SEED)
    run = TrainingRun(NAME, WEIGHTS.parent / "runs", SEED, console=Console())
    save_file(train(run).state_dict(), WEIGHTS / f"{NAME}.safetensors")


if __name__ == "__main__":
    main()

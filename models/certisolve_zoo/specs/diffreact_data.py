"""Sources, query points and solutions of diffusion with a quadratic reaction.

u_t = D u_xx + k u² + f(x) on (0, 1),   u = 0 at the ends and at t = 0,   D = k = 0.01
"""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float64
from safetensors.numpy import save_file
from safetensors.torch import load_file
from torch import Tensor

from certisolve_zoo.data import Samples
from certisolve_zoo.pdes.diffusion_reaction import solve_diffusion_reaction
from certisolve_zoo.pdes.random_fields import squared_exponential_grf

DIFFUSIVITY = RATE = 0.01
NUM_SENSORS = 101
TRAINING_LEVELS = 100
# Right to 6e-5 and 1.4e-5 in relative L2, against 1601 nodes and dt = 1/1600.
TRAINING_NODES, UNSEEN_NODES = 201, 401
UNSEEN_LEVELS = 200
# The solver's own arrays stay in the cache.
_CHUNK = 64


def training_solutions(
    seed: int, num_sources: int, cache: Path
) -> tuple[Float[Tensor, "source sensor"], Float[Tensor, "source t x"]]:
    """Sources at the sensors, and solutions at the sensors at t = 0.01, 0.02, ..., 1.

    Args:
        seed: of the sources.
        num_sources: to make or to load.
        cache: folder of the cached file.
    """
    path = cache / f"diffreact-{seed}-{num_sources}.safetensors"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        sources, solutions = _solved(
            seed, num_sources, TRAINING_NODES, TRAINING_LEVELS, NUM_SENSORS
        )
        save_file({"f": sources, "u": solutions}, path)
    fields = load_file(path)
    return fields["f"], fields["u"]


def samples_at_random_points(seed: int, num_samples: int, num_points: int) -> Samples:
    """Sources, and solutions at points of a finer grid than that of training, drawn for each.

    A longer set begins with the shorter one.
    """
    sources, solutions = _solved(seed, num_samples, UNSEEN_NODES, UNSEEN_LEVELS, UNSEEN_NODES)
    rng = np.random.default_rng((seed, 1))
    chosen = rng.integers(0, solutions[0].size, (num_samples, num_points))
    level, node = np.divmod(chosen, UNSEEN_NODES)
    target = np.take_along_axis(solutions.reshape(num_samples, -1), chosen, axis=1)
    inputs = (
        sources[:, :: (UNSEEN_NODES - 1) // (NUM_SENSORS - 1)],
        (node / (UNSEEN_NODES - 1)).astype(np.float32),
        ((level + 1) / UNSEEN_LEVELS).astype(np.float32),
    )
    return Samples(
        tuple(torch.from_numpy(np.ascontiguousarray(array)) for array in inputs),
        torch.from_numpy(target),
    )


def random_sources(seed: int, num_sources: int, num_nodes: int) -> Float64[np.ndarray, "source x"]:
    """Gaussian random fields of length 0.2, as in Lu et al. (2021)."""
    return squared_exponential_grf(np.random.default_rng(seed), num_sources, num_nodes)


def _solved(
    seed: int, num_sources: int, num_nodes: int, num_levels: int, kept_nodes: int
) -> tuple[Float[np.ndarray, "source x"], Float[np.ndarray, "source t x_kept"]]:
    sources = random_sources(seed, num_sources, num_nodes)
    stride = (num_nodes - 1) // (kept_nodes - 1)
    solutions = np.empty((num_sources, num_levels, kept_nodes), np.float32)
    for start in range(0, num_sources, _CHUNK):
        chunk = sources[start : start + _CHUNK]
        solved = solve_diffusion_reaction(
            np.zeros_like(chunk),
            chunk,
            diffusivity=DIFFUSIVITY,
            rate=RATE,
            num_snapshots=num_levels,
            interval=1 / num_levels,
            dt=1 / num_levels,
        )
        solutions[start : start + _CHUNK] = solved[:, :, ::stride]
    return np.ascontiguousarray(sources[:, ::stride], np.float32), solutions

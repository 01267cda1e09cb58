"""Samples for training and for measuring errors: inputs of a program and the reference answers.

Nothing here is kept in git. Burgers samples cost a tenth of a millisecond and are made afresh;
Darcy samples cost a fifth of a second and are cached.
"""

import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from rich.progress import track
from safetensors.numpy import save_file
from safetensors.torch import load_file
from torch import Tensor

from .pdes.burgers import cole_hopf
from .pdes.darcy import REFERENCE_POINTS, sample_darcy
from .pdes.random_fields import periodic_grf

BURGERS_POINTS = 1024


@dataclass(frozen=True)
class Samples:
    """Inputs of a program and the answers it should give, batched along the first axis."""

    inputs: tuple[Float[Tensor, "sample ..."], ...]
    target: Float[Tensor, "sample ..."]

    def __len__(self) -> int:
        return len(self.target)

    def __getitem__(self, index: Tensor | slice) -> "Samples":
        return Samples(tuple(tensor[index] for tensor in self.inputs), self.target[index])


def minibatches(
    num_samples: int, batch_size: int, generator: torch.Generator
) -> Iterator[Int[Tensor, " batch"]]:
    """Indices of all samples once, in random order; what does not fill a batch is left out."""
    order = torch.randperm(num_samples, generator=generator)
    for start in range(0, num_samples - batch_size + 1, batch_size):
        yield order[start : start + batch_size]


def burgers_samples(
    seed: int | tuple[int, ...], num_samples: int, *, nu: float, t: float
) -> Samples:
    """Random initial conditions on 1024 points and Burgers' exact solution at time t."""
    initial_condition = periodic_grf(np.random.default_rng(seed), num_samples, BURGERS_POINTS)
    solution = cole_hopf(initial_condition, t, nu)
    return Samples(
        (torch.from_numpy(initial_condition).float(),), torch.from_numpy(solution).float()
    )


def darcy_samples(
    seed: int, num_samples: int, strides: tuple[int, ...], cache: Path
) -> dict[int, Samples]:
    """Darcy solutions of 211^2 nodes, kept at every stride-th node, by nodes per axis.

    Each sample has a seed of its own, so that a longer set begins with the shorter one.

    Args:
        seed: of the set.
        num_samples: samples to make or to load.
        strides: divisors of 210.
        cache: folder of the cached files.
    """
    path = cache / f"darcy-{seed}-{num_samples}.safetensors"
    if not path.exists():
        _solve_and_cache(path, seed, num_samples, strides)
    fields = load_file(path)
    sizes = [(REFERENCE_POINTS - 1) // stride + 1 for stride in strides]
    return {size: Samples((fields[f"a{size}"],), fields[f"u{size}"]) for size in sizes}


def _solve_and_cache(path: Path, seed: int, num_samples: int, strides: tuple[int, ...]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fields: dict[str, list[np.ndarray]] = {}
    # Not forked: torch has threads running.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(os.cpu_count(), mp_context=context) as pool:
        solved = pool.map(partial(sample_darcy, seed, strides), range(num_samples), chunksize=8)
        for sample in track(solved, description=path.stem, total=num_samples):
            for key, field in sample.items():
                fields.setdefault(key, []).append(field)
    save_file({key: np.stack(values) for key, values in fields.items()}, path)

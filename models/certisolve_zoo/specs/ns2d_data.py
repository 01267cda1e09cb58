"""Trajectories of the Navier-Stokes benchmark, for training and for measuring errors."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float64
from rich.progress import track
from safetensors.torch import load_file, save_file
from torch import Tensor

from certisolve_zoo.pdes.navier_stokes import diagonal_forcing, solve_navier_stokes
from certisolve_zoo.pdes.random_fields import periodic_grf_2d

NU = 1e-3
# At t = 11 to 50 these trajectories are within 1e-4 of those on 48 points with dt = 0.1.
REFERENCE_POINTS = 36
REFERENCE_DT = 1 / 6
# The classical solver is fastest on batches whose spectra stay in the cache.
CHUNK_SIZE = 16


def trajectories(
    seed: int, num_samples: int, num_snapshots: int, num_points: int, *, cache: Path
) -> Float[Tensor, "sample t y x"]:
    """The vorticity at t = 1, 2, ..., kept on fewer points than it was solved on, cached.

    Each chunk of 16 has a seed of its own, so that a longer set begins with the shorter one.

    Args:
        seed: of the set.
        num_samples: trajectories.
        num_snapshots: frames of each, from t = 1 on.
        num_points: of the frames, along both axes; modes beyond are left out.
        cache: folder of the file.
    """
    path = cache / f"ns2d-{seed}-{num_samples}-{num_snapshots}-{num_points}.safetensors"
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        starts = track(range(0, num_samples, CHUNK_SIZE), description=path.stem)
        chunks = [
            _chunk((seed, start), min(CHUNK_SIZE, num_samples - start), num_snapshots, num_points)
            for start in starts
        ]
        save_file({"w": torch.cat(chunks)}, path)
    return load_file(path)["w"]


def random_windows(
    frames: Float[Tensor, "sample t y x"],
    num_frames: int,
    batch_size: int,
    generator: torch.Generator,
) -> Float[Tensor, "batch t2 y x"]:
    """Frames in a row from random trajectories, all under one random symmetry of the equation."""
    num_samples, available = frames.shape[:2]
    sample = torch.randint(num_samples, (batch_size, 1), generator=generator)
    first = torch.randint(available - num_frames + 1, (batch_size, 1), generator=generator)
    symmetry = int(torch.randint(4, (), generator=generator))
    return turned(frames[sample, first + torch.arange(num_frames)], symmetry)


def turned(w: Float[Tensor, "*sample y x"], symmetry: int) -> Float[Tensor, "*sample y x"]:
    """The vorticity under one of four symmetries of the equation with its forcing.

    They are made of -w(x + 1/4, y + 1/4), mirrored at the diagonal, and of w(-x, 1/4 - y), turned
    by half a turn; the grid needs a multiple of four points.
    """
    quarter = w.shape[-1] // 4
    if symmetry & 1:
        w = -w.transpose(-2, -1).roll((quarter, quarter), (-2, -1))
    if symmetry & 2:
        w = w.flip((-2, -1)).roll((1 + quarter, 1), (-2, -1))
    return w


def solve_chunk(
    seed: tuple[int, ...],
    num_samples: int,
    num_snapshots: int,
    *,
    num_points: int = REFERENCE_POINTS,
    dt: float = REFERENCE_DT,
) -> Float64[np.ndarray, "sample t y x"]:
    """Trajectories of up to 16 random initial conditions, on the points they are solved on."""
    w0 = periodic_grf_2d(np.random.default_rng(seed), CHUNK_SIZE, REFERENCE_POINTS)[:num_samples]
    return solve_navier_stokes(
        resample(w0, num_points),
        NU,
        forcing=diagonal_forcing(num_points),
        num_snapshots=num_snapshots,
        dt=dt,
    )


def resample(
    field: Float[np.ndarray, "*sample y x"], num_points: int
) -> Float64[np.ndarray, "*sample y2 x2"]:
    """The same trigonometric polynomial on another grid, without the modes that do not fit."""
    matrix = _interpolation(field.shape[-1], num_points)
    return np.asarray(matrix @ field @ matrix.T)


def _interpolation(num_points: int, num_points_out: int) -> Float64[np.ndarray, "x2 x"]:
    """Σ_k w_k cos 2πk(i/M - j/N) / N over the modes that both grids hold."""
    last = (min(num_points, num_points_out) - 1) // 2
    there = np.arange(num_points_out) / num_points_out
    here = np.arange(num_points) / num_points
    angle = 2 * np.pi * (there[:, None] - here)
    waves = (2 * np.cos(k * angle) for k in range(1, last + 1))
    return np.asarray((1 + sum(waves)) / num_points)


def _chunk(
    seed: tuple[int, ...], num_samples: int, num_snapshots: int, num_points: int
) -> Float[Tensor, "sample t y x"]:
    solution = solve_chunk(seed, num_samples, num_snapshots)
    return torch.from_numpy(resample(solution, num_points)).float()

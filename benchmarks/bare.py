"""The bare program: what the hardware gives without a server around it."""

import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from certisolve_server.artifacts import read_artifact
from certisolve_server.bench import draw_inputs
from certisolve_server.engines import AbstractEngine, load_engine, open_device

_SECONDS_PER_BATCH_SIZE = 0.2


class Bare(NamedTuple):
    """Solves per second of the program alone.

    Attributes:
        single: one request per forward pass.
        best: at `best_batch_size`, the fastest per request of the powers of two.
    """

    single: float
    best: float
    best_batch_size: int


def load_bare(repository: Path, name: str) -> AbstractEngine:
    """The engine of the only version of a model in `repository`."""
    [directory] = (repository / name).iterdir()
    return load_engine(read_artifact(directory), open_device("cpu")).engine


def measure_bare(engine: AbstractEngine, sizes: dict[str, int]) -> Bare:
    """Forward passes on tensors that are already in place, at every batch size."""
    manifest, rates, size = engine.artifact.manifest, {}, 1
    drawn = draw_inputs(manifest, sizes, np.random.default_rng(0))
    parameters = [drawn.parameters[p.name] for p in manifest.parameters if p.program_input]
    columns = [torch.from_numpy(array) for array in drawn.arrays.values()]
    columns += [torch.tensor(value, dtype=torch.float32) for value in parameters]
    while size <= manifest.max_batch_size:
        batch = [column.expand(size, *column.shape).contiguous() for column in columns]
        rates[size] = size * _passes_per_second(engine, batch)
        size *= 2
    best = max(rates, key=rates.__getitem__)
    return Bare(rates[1], rates[best], best)


def _passes_per_second(engine: AbstractEngine, batch: list[Tensor]) -> float:
    with engine.device.scope():
        engine.forward(batch)
        passes, started_at = 0, time.perf_counter()
        while time.perf_counter() < started_at + _SECONDS_PER_BATCH_SIZE:
            engine.forward(batch)
            passes += 1
        return passes / (time.perf_counter() - started_at)

"""Surrogate and classical solver on the same problems, in one run on one machine."""

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from certisolve.manifest import Baseline

from .data import Samples
from .evaluation import hardware, sample_errors
from .spec import ModelSpec, Sizes

BATCH_SIZES = (1, 256)
# A model answers a batch in chunks that stay in the cache, as a server does that measures what is
# fastest; whole batches of 256 take up to five times as long per solve.
CHUNK_SIZE = 16
# Medians over this many calls; a batch is timed less often, each call being long.
REPEATS = {1: 30, 256: 3}


def measure_baselines(
    model: nn.Module, spec: ModelSpec, cache: Path, report: Callable[[str], None]
) -> tuple[Baseline, ...]:
    """Time and error of both at every resolution, alone and in a batch.

    Args:
        model: trained, in evaluation mode.
        spec: holds the solver and the problems.
        cache: folder of reference solutions.
        report: called with a line before each measurement.
    """
    problems = zip(spec.resolutions, spec.unseen(max(BATCH_SIZES), cache), strict=True)
    rows = []
    for sizes, samples in problems:
        for batch_size in BATCH_SIZES:
            report(f"model={spec.name} sizes={sizes} batch_size={batch_size}")
            rows.append(_compared(model, spec, sizes, samples, batch_size))
    return tuple(rows)


def _compared(
    model: nn.Module, spec: ModelSpec, sizes: Sizes, samples: Samples, batch_size: int
) -> Baseline:
    solver = spec.solver

    def classical(*inputs: Tensor) -> Tensor:
        return torch.from_numpy(solver.solve(*(tensor.numpy() for tensor in inputs)))

    def surrogate(*inputs: Tensor) -> Tensor:
        chunks = zip(*(torch.split(tensor, CHUNK_SIZE) for tensor in inputs), strict=True)
        return torch.cat([model(*chunk) for chunk in chunks])

    with torch.inference_mode():
        time_ms, error = _timed(classical, samples, batch_size, spec)
        model_time_ms, model_error = _timed(surrogate, samples, batch_size, spec)
    grid = ", ".join(f"{axis} = {size}" for axis, size in sizes.items())
    return Baseline(
        solver=solver.name,
        grid=f"{solver.grid}; {grid}" if grid else solver.grid,
        dt=None,
        batch_size=batch_size,
        error=_rounded(error),
        time_ms=_rounded(time_ms),
        model_error=_rounded(model_error),
        model_time_ms=_rounded(model_time_ms),
        hardware=hardware(),
        remark=solver.remark,
    )


def _timed(
    solve: Callable[..., Tensor], samples: Samples, batch_size: int, spec: ModelSpec
) -> tuple[float, float]:
    """Median milliseconds per problem, and the mean error over all problems."""
    batches = [samples[start : start + batch_size] for start in range(0, len(samples), batch_size)]
    predictions = torch.cat([solve(*batch.inputs) for batch in batches])
    durations = []
    for repeat in range(REPEATS[batch_size]):
        batch = batches[repeat % len(batches)]
        started = time.perf_counter()
        solve(*batch.inputs)
        durations.append(1e3 * (time.perf_counter() - started) / batch_size)
    errors = sample_errors(predictions, samples.target, spec.metric)
    return statistics.median(durations), float(errors.mean())


def _rounded(value: float) -> float:
    return float(f"{value:.3g}")

"""Surrogate and classical solver on the same problems, in one run on one machine."""

import math
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from certisolve.manifest import Baseline

from .data import Samples
from .evaluation import answer, hardware, sample_errors
from .spec import ClassicalSolver, ModelSpec, Sizes

Role = Literal["equal error", "twice the error", "most accurate"]

BATCH_SIZES = (1, 256)
# A model answers a batch in chunks that stay in the cache, as a server does that measures what is
# fastest; whole batches of 256 take up to five times as long per solve.
CHUNK_SIZE = 16
# Medians over this many calls; a batch is timed less often, each call being long.
REPEATS = {1: 30, 256: 3}
# After so many seconds on one solver no more repeats are begun.
LONGEST_S = 20.0


@dataclass(frozen=True)
class _Measured:
    """Milliseconds per problem, and the mean error over all problems."""

    time_ms: float
    error: float


def measure_baselines(
    model: nn.Module, spec: ModelSpec, cache: Path, report: Callable[[str], None]
) -> tuple[Baseline, ...]:
    """Time and error of both at every resolution, alone and in a batch.

    Of the classical solvers two are kept: the fastest that is at least as accurate as the model,
    and the fastest within twice the model's error, where that is another.

    Args:
        model: trained, in evaluation mode.
        spec: holds the solvers and the problems.
        cache: folder of reference solutions.
        report: called with a line before each measurement.
    """
    problems = zip(spec.resolutions, spec.unseen(max(BATCH_SIZES), cache), strict=True)
    rows: list[Baseline] = []
    for sizes, samples in problems:
        ours = _timed(_surrogate(model, spec), samples, spec)
        theirs = []
        for solver in spec.solvers:
            report(f"model={spec.name} sizes={sizes} solver={solver.name!r} grid={solver.grid!r}")
            theirs.append((solver, _timed(_classical(solver), samples, spec)))
        rows += _compared(theirs, ours, sizes)
    return tuple(rows)


def _surrogate(model: nn.Module, spec: ModelSpec) -> Callable[..., Tensor]:
    def solve(*inputs: Tensor) -> Tensor:
        chunks = zip(*(torch.split(tensor, CHUNK_SIZE) for tensor in inputs), strict=True)
        return torch.cat([answer(model, spec, chunk)[0] for chunk in chunks])

    return solve


def _classical(solver: ClassicalSolver) -> Callable[..., Tensor]:
    return lambda *inputs: torch.from_numpy(solver.solve(*(each.numpy() for each in inputs)))


def _compared(
    theirs: list[tuple[ClassicalSolver, dict[int, _Measured]]],
    ours: dict[int, _Measured],
    sizes: Sizes,
) -> list[Baseline]:
    rows = []
    for batch_size, model in ours.items():
        measured = [(solver, timed[batch_size]) for solver, timed in theirs]
        for role, (solver, classical) in _chosen(measured, model.error).items():
            rows.append(_baseline(solver, role, classical, model, sizes, batch_size))
    return rows


def _chosen(
    measured: list[tuple[ClassicalSolver, _Measured]], error: float
) -> dict[Role, tuple[ClassicalSolver, _Measured]]:
    """The solvers worth a row, by their role."""
    equal = [entry for entry in measured if entry[1].error <= error]
    near = [entry for entry in measured if entry[1].error <= 2 * error]
    if not near:
        return {"most accurate": min(measured, key=lambda entry: entry[1].error)}
    chosen: dict[Role, tuple[ClassicalSolver, _Measured]] = {}
    if equal:
        chosen["equal error"] = min(equal, key=lambda entry: entry[1].time_ms)
    fastest = min(near, key=lambda entry: entry[1].time_ms)
    if fastest not in chosen.values():
        chosen["twice the error"] = fastest
    return chosen


def _baseline(
    solver: ClassicalSolver,
    role: Role,
    measured: _Measured,
    ours: _Measured,
    sizes: Sizes,
    batch_size: int,
) -> Baseline:
    grid = ", ".join(f"{axis} = {size}" for axis, size in sizes.items())
    return Baseline(
        solver=solver.name,
        grid=f"{solver.grid}; {grid}" if grid else solver.grid,
        dt=solver.dt,
        batch_size=batch_size,
        error=_rounded(measured.error),
        time_ms=_rounded(measured.time_ms),
        model_error=_rounded(ours.error),
        model_time_ms=_rounded(ours.time_ms),
        hardware=hardware(),
        remark=solver.remark,
        role=role,
    )


def _timed(solve: Callable[..., Tensor], samples: Samples, spec: ModelSpec) -> dict[int, _Measured]:
    """Medians over several calls by batch size, and the error over all samples, in batches."""
    started = time.perf_counter()
    prediction, first_s = _clocked(solve, samples)
    error = float(sample_errors(prediction, samples.target, spec.metric).mean())
    measured = {}
    for batch_size in BATCH_SIZES:
        durations = [first_s] if batch_size == len(samples) else []
        while len(durations) < REPEATS[batch_size]:
            if durations and time.perf_counter() - started > LONGEST_S:
                break
            first = len(durations) * batch_size % len(samples)
            durations.append(_clocked(solve, samples[first : first + batch_size])[1])
        time_ms = 1e3 * statistics.median(durations) / batch_size
        measured[batch_size] = _Measured(time_ms, error if math.isfinite(error) else math.inf)
    return measured


def _clocked(solve: Callable[..., Tensor], samples: Samples) -> tuple[Tensor, float]:
    """The answers, and the seconds they took."""
    started = time.perf_counter()
    answers = solve(*samples.inputs)
    return answers, time.perf_counter() - started


def _rounded(value: float) -> float:
    return float(f"{min(value, sys.float_info.max):.3g}")

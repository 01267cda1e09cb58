"""Iterations of `poisson-dcdm` and of preconditioned conjugate gradients, on the same problems.

`python -m certisolve_zoo.specs.poisson_iterations` prints a table in Markdown. Times are those of
the processor, of one thread, so that a busy machine does not spoil them.
"""

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from certisolve_zoo.data import Samples
from certisolve_zoo.evaluation import NUM_UNSEEN, hardware
from certisolve_zoo.records import WEIGHTS, load_model

from . import poisson_dcdm, poisson_solvers

TOLERANCES = (1e-4, 1e-8)
BATCH_SIZE = 16


class Compared(NamedTuple):
    """One method at one tolerance, over all problems.

    Attributes:
        iterations: of each problem.
        converged: how many problems reached the tolerance.
        time_ms: of the processor, per problem.
    """

    iterations: Sequence[int]
    converged: int
    time_ms: float


def learned(network: nn.Module, samples: Samples, tolerance: float, batch_size: int) -> Compared:
    """The network's directions, so many problems at once."""
    started, iterations, converged = time.process_time(), [], 0
    with torch.inference_mode():
        for start in range(0, len(samples), batch_size):
            a, f = samples[start : start + batch_size].inputs
            solution = poisson_dcdm.iterate(network, a, f, tolerance)
            iterations += solution.iterations.tolist()
            converged += int(solution.converged.sum())
    return Compared(iterations, converged, _elapsed_ms(started) / len(samples))


def classical(
    preconditioner: poisson_solvers.Preconditioner, samples: Samples, tolerance: float
) -> Compared:
    """Conjugate gradients, one problem after the other."""
    started, reports = time.process_time(), []
    for a, f in zip(*(tensor.numpy() for tensor in samples.inputs), strict=True):
        reports.append(poisson_solvers.iterate(a, f, preconditioner, tolerance))
    # The residual that stops them is the recursion's, which rounding sets apart from the true one.
    converged = sum(report.relative_residual <= 1.01 * tolerance for report in reports)
    time_ms = _elapsed_ms(started) / len(samples)
    return Compared([report.num_iterations for report in reports], converged, time_ms)


def table(network: nn.Module, samples: Samples) -> str:
    """Every method at every tolerance, and the direct solver."""
    rows = [
        "| directions | tolerance | iterations, mean | worst | converged | ms per problem |",
        "|---|---|---|---|---|---|",
    ]
    for tolerance in TOLERANCES:
        methods: Mapping[str, Callable[[], Compared]] = {
            f"`poisson-dcdm`, {size} at once": partial(learned, network, samples, tolerance, size)
            for size in (1, BATCH_SIZE)
        } | {
            f"conjugate gradients, {name}": partial(classical, preconditioner, samples, tolerance)
            for name, preconditioner in poisson_solvers.PRECONDITIONERS.items()
        }
        rows += [
            _row(name, tolerance, measure(), len(samples)) for name, measure in methods.items()
        ]
    started = time.process_time()
    poisson_solvers.directly(*(tensor.numpy() for tensor in samples.inputs))
    time_ms = _elapsed_ms(started) / len(samples)
    return "\n".join([*rows, f"| none: sparse LU (SuperLU) | - | - | - | - | {time_ms:.2g} |"])


def _row(name: str, tolerance: float, measured: Compared, num_samples: int) -> str:
    mean, worst = np.mean(measured.iterations), max(measured.iterations)
    return (
        f"| {name} | {tolerance:g} | {mean:.1f} | {worst} | {measured.converged} of {num_samples} "
        f"| {measured.time_ms:.2g} |"
    )


def _elapsed_ms(started: float) -> float:
    return 1e3 * (time.process_time() - started)


if __name__ == "__main__":
    torch.set_num_threads(1)
    network = load_model(poisson_dcdm.SPEC, WEIGHTS)
    [unseen] = poisson_dcdm.unseen(NUM_UNSEEN, WEIGHTS)
    sys.stdout.write(f"{hardware()}\n\n{table(network, unseen)}\n")

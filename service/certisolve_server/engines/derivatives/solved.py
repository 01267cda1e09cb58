"""The solution that derivatives belong to, found as for any other request."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from certisolve_server.engines.base import AbstractEngine
from certisolve_server.jobs import Ending, SolveJob


class Solved(NamedTuple):
    """What came of one job.

    Attributes:
        outputs: one per output of the manifest.
        findings: about them.
        t: times of the frames, where it ended early.
        ending: why it did.
        batch_ms: assembling the batch.
    """

    outputs: tuple[NDArray[Any], ...]
    findings: dict[str, float]
    t: tuple[float, ...] | None
    ending: Ending | None
    batch_ms: float


def solve(engine: AbstractEngine, job: SolveJob) -> Solved:
    """The solution of a job, alone in its batch."""
    step = engine.launch([[array] for array in arguments_of(job)], [job.work]).wait()
    findings = {name: float(values[0]) for name, values in step.findings.items()}
    return Solved(step.row(0), findings, None, None, step.batch_ms)


def arguments_of(job: SolveJob) -> list[NDArray[Any]]:
    """Inputs and parameters, as the program takes them."""
    return [*job.inputs, *(np.asarray(value, np.float32) for value in job.parameters)]

"""The solution that derivatives belong to, found as for any other request."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from certisolve_server.engines.base import AbstractEngine
from certisolve_server.engines.stepping import SteppingEngine, finish
from certisolve_server.jobs import Ending, SolveJob


class Solved(NamedTuple):
    """What came of one job.

    Attributes:
        outputs: one per output of the manifest.
        findings: about them.
        t: times of the frames, where it ended early.
        ending: why it did.
    """

    outputs: tuple[NDArray[Any], ...]
    findings: Mapping[str, float]
    t: tuple[float, ...] | None = None
    ending: Ending | None = None


def solve(engine: AbstractEngine | SteppingEngine, job: SolveJob) -> Solved:
    """The solution of a job, alone in its batch.

    Raises:
        Exception: what the program raises.
    """
    if isinstance(engine, SteppingEngine):
        [ended] = finish(engine, [job])
        if ended.error is not None:
            raise ended.error
        return Solved(ended.outputs, ended.findings, ended.t, ended.ending)
    step = engine.launch([[array] for array in arguments_of(job)], [job.work]).wait()
    findings = {name: float(values[0]) for name, values in step.findings.items()}
    return Solved(step.row(0), findings)


def arguments_of(job: SolveJob) -> list[NDArray[Any]]:
    """Inputs and parameters, as the program takes them."""
    return [*job.inputs, *(np.asarray(value, np.float32) for value in job.parameters)]

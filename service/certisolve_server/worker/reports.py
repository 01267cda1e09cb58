"""What a job came to, as its queue and its operator are told."""

import logging
from collections.abc import Mapping
from typing import Any, Protocol

from numpy.typing import NDArray

from certisolve_server.engines import Step
from certisolve_server.jobs import Ending, Outcome, SolveJob, Timings
from certisolve_server.telemetry import Metrics

from .held import Held

_log = logging.getLogger(__name__)


class Answered(Protocol):
    """The answer to one job, by itself."""

    @property
    def outputs(self) -> tuple[NDArray[Any], ...]:
        """As an `Outcome` has them, and so below."""

    @property
    def finite(self) -> bool: ...

    @property
    def findings(self) -> Mapping[str, float]: ...

    @property
    def t(self) -> tuple[float, ...] | None: ...

    @property
    def ending(self) -> Ending | None: ...


def outcome_of(
    job: SolveJob,
    answer: Answered,
    timings: Timings,
    batch_size: int,
    states: tuple[NDArray[Any], ...] = (),
) -> Outcome:
    """The outcome of a job that was answered by itself."""
    return Outcome(
        model=job.model,
        outputs=answer.outputs,
        finite=answer.finite,
        timings=timings,
        batch_size=batch_size,
        context=job.context,
        findings=answer.findings,
        t=answer.t,
        ending=answer.ending,
        states=states,
    )


def outcome_of_row(job: SolveJob, step: Step, row: int, timings: Timings) -> Outcome:
    """The outcome of a job that was a row of a batch."""
    return Outcome(
        model=job.model,
        outputs=step.row(row),
        finite=step.finite[row],
        timings=timings,
        batch_size=step.batch_size,
        context=job.context,
        findings={name: float(values[row]) for name, values in step.findings.items()},
    )


def fail(held: Held, error: Exception, metrics: Metrics) -> None:
    """Tell that a job failed on the device, and why."""
    job = held.job
    _log.error("solve_failed job=%s model=%s", job.id, job.model.name, exc_info=error)
    metrics.batch_failed(job.model, 1)
    held.fail(error)

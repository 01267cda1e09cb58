"""What the server does, behind every protocol: routes and servicers convert, call, convert back."""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from certisolve.manifest import Manifest

from . import admission, grids
from .broker import AbstractBroker
from .catalog import Catalog, ModelEntry
from .errors import (
    BodyTooLarge,
    DeadlineExceeded,
    ErrorCode,
    ModelNotReady,
    QueueFull,
    ServingError,
    UnknownJob,
)
from .job_ids import JobIds
from .jobs import Array, JobState, Outcome, Solution, SolveContext, SolveJob, SolveRequest
from .telemetry import Metrics


@dataclass(frozen=True, slots=True)
class Limits:
    """What one server takes on.

    Attributes:
        max_body_bytes: of one request.
        max_queued_requests: waiting or running.
        max_queued_bytes: of their inputs.
        max_wait_s: longest a caller is kept waiting without a deadline of its own.
    """

    max_body_bytes: int
    max_queued_requests: int
    max_queued_bytes: int
    max_wait_s: float


@dataclass(frozen=True, slots=True)
class JobView:
    """A job as its owner sees it; `solution` is set when it succeeded."""

    id: str
    state: JobState
    solution: Solution | None = None


class DataPlane:
    """Solves, jobs and models.

    Arguments:
        catalog: the models.
        broker: where jobs go.
        limits: beyond which requests are refused.
        metrics: what is counted.
        clock: Unix seconds.
    """

    def __init__(
        self,
        catalog: Catalog,
        broker: AbstractBroker,
        limits: Limits,
        metrics: Metrics,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.limits = limits
        self._catalog = catalog
        self._broker = broker
        self._metrics = metrics
        self._clock = clock
        self._job_ids = JobIds()

    def models(self) -> list[ModelEntry]:
        """Every version of every model, by name."""
        return list(self._catalog)

    def model(self, name: str, version: str | None = None) -> ModelEntry:
        """One version of one model, the newest by default.

        Raises:
            NotFound: no such model or version.
        """
        return self._catalog.find(name, version)

    def ready(self) -> bool:
        """Whether every model that can be loaded has been."""
        entries = [entry for entry in self._catalog if entry.fault is None]
        return bool(entries) and all(entry.ready for entry in entries)

    def metrics(self) -> bytes:
        """The Prometheus text of this process."""
        return self._metrics.render(self._broker.depth().num_jobs)

    async def solve(self, request: SolveRequest) -> Solution:
        """The answer to a request. Cancelling the call cancels the job.

        Raises:
            ServingError: refused, failed, or the deadline passed.
        """
        try:
            job = self._admit(request)
            await self._broker.submit(job, keep_result=False)
            solution = self._solution(await self._result(job))
        except ServingError as error:
            self._metrics.request_done(_known(request.model, error), error.code)
            raise
        except asyncio.CancelledError:
            self._metrics.request_done(request.model, ErrorCode.CANCELLED)
            raise
        self._metrics.request_done(request.model, "ok")
        return solution

    async def submit_solve(self, request: SolveRequest) -> JobView:
        """Accept a request whose answer is fetched later.

        Raises:
            ServingError: refused.
        """
        job = self._admit(request)
        await self._broker.submit(job, keep_result=True)
        return JobView(job.id, await self._broker.state(job.id))

    async def job(self, job_id: str, *, wait_s: float = 0.0) -> JobView:
        """Where a job stands, after waiting up to `wait_s` seconds for it to end.

        Raises:
            UnknownJob: never accepted, or forgotten.
        """
        return self._view(job_id, await self._broker.state(job_id, wait_s=wait_s))

    async def cancel(self, job_id: str) -> JobView:
        """End a job unanswered, unless it has ended.

        Raises:
            UnknownJob: never accepted, or forgotten.
        """
        return self._view(job_id, await self._broker.cancel(job_id))

    def _admit(self, request: SolveRequest) -> SolveJob:
        entry = self._catalog.find(request.model, request.version)
        if not entry.ready:
            reason = entry.fault or "it is still loading"
            raise ModelNotReady(
                f"{request.model}: {reason}", retry_after_s=None if entry.fault else 1.0
            )
        manifest = entry.artifact.manifest
        admitted = admission.check(request, manifest)
        inputs = _on_program_grid(admitted, manifest)
        self._check_capacity(sum(array.nbytes for array in inputs))
        now = self._clock()
        if request.deadline is not None and request.deadline <= now:
            raise DeadlineExceeded("the deadline had passed on arrival")
        return SolveJob(
            id=self._job_ids.next(),
            model=entry.artifact.key,
            inputs=inputs,
            parameters=admitted.parameters,
            submitted_at=now,
            deadline=request.deadline,
            context=_context(admitted, manifest, diagnostics=request.diagnostics),
        )

    def _check_capacity(self, num_bytes: int) -> None:
        if num_bytes > self.limits.max_body_bytes:
            raise BodyTooLarge(f"inputs of {num_bytes} bytes; at most {self.limits.max_body_bytes}")
        depth = self._broker.depth()
        if depth.num_jobs >= self.limits.max_queued_requests:
            raise QueueFull(f"{depth.num_jobs} requests are waiting", retry_after_s=1.0)
        if depth.num_bytes + num_bytes > self.limits.max_queued_bytes:
            raise QueueFull(f"{depth.num_bytes} bytes are waiting", retry_after_s=1.0)

    async def _result(self, job: SolveJob) -> Outcome:
        limit_s = self.limits.max_wait_s
        if job.deadline is not None:
            limit_s = min(limit_s, job.deadline - self._clock())
        try:
            async with asyncio.timeout(limit_s):
                return await self._broker.result(job.id)
        except TimeoutError as error:
            stage = await self._abandon(job)
            self._metrics.deadline_missed(stage)
            raise DeadlineExceeded(
                f"no answer after {limit_s:.3f} s; the request was {stage}"
            ) from error
        except asyncio.CancelledError:
            await self._abandon(job)
            raise

    async def _abandon(self, job: SolveJob) -> str:
        """Cancel a job nobody waits for; the status it had."""
        try:
            status = (await self._broker.state(job.id)).status
            await self._broker.cancel(job.id)
        except UnknownJob:
            return "answered"
        return status

    def _view(self, job_id: str, state: JobState) -> JobView:
        solution = self._solution(state.outcome) if state.outcome else None
        return JobView(job_id, state, solution)

    def _solution(self, outcome: Outcome) -> Solution:
        artifact = self._catalog.find(*outcome.model).artifact
        manifest, context = artifact.manifest, outcome.context
        fields = dict(zip((spec.name for spec in manifest.outputs), outcome.outputs, strict=True))
        if context.resampled_from is not None:
            for spec in manifest.outputs:
                field = fields[spec.name]
                fields[spec.name] = grids.resample(field, spec, context.resampled_from)
        return Solution(
            fields=fields,
            axes={spec.name: spec.axes for spec in manifest.outputs},
            coords=_coords(manifest, context.sizes),
            status="ok" if outcome.finite else "not_finite",
            context=context,
            timings=outcome.timings,
            batch_size=outcome.batch_size,
            artifact=artifact,
        )


def _on_program_grid(admitted: admission.Admitted, manifest: Manifest) -> tuple[Array, ...]:
    if not admitted.resampled:
        return admitted.inputs
    return tuple(
        grids.resample(array, spec, admitted.resolution.sizes)
        for array, spec in zip(admitted.inputs, manifest.inputs, strict=True)
    )


def _context(
    admitted: admission.Admitted, manifest: Manifest, *, diagnostics: bool
) -> SolveContext:
    sent = {name: admitted.sizes[name] for name in manifest.grid_axes}
    return SolveContext(
        t=admitted.t,
        sizes=admitted.sizes,
        resampled_from=sent if admitted.resampled else None,
        expected_error=None if admitted.resampled else admitted.resolution.error,
        diagnostics=diagnostics,
    )


def _coords(manifest: Manifest, sizes: Mapping[str, int]) -> dict[str, Array]:
    return {
        name: grids.coordinates(manifest.axes[name], sizes[name]) for name in manifest.grid_axes
    }


def _known(model: str, error: ServingError) -> str:
    # A label per misspelt model would let strangers grow the metrics without bound.
    return "" if error.code == "unknown_model" else model

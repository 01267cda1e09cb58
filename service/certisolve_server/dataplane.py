"""What the server does, behind every protocol: routes and servicers convert, call, convert back."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from . import directions
from .answers import Certified, Derivative, Solution
from .broker import AbstractBroker
from .catalog import Catalog, ModelEntry
from .certificates import CertifyStream, KnownCertificates, certified_of
from .certification.request import CertifyRequest
from .derivatives import derivative_of
from .errors import (
    ErrorCode,
    InvalidOption,
    QueueUnavailable,
    ServingError,
)
from .intake import Intake
from .intake import Limits as Limits
from .jobs import DerivativeRequest, JobState, Outcome, SolveJob, SolveRequest, Terms
from .pending import Pending
from .solutions import solution_of
from .streams import SolveStream
from .telemetry import Metrics, Tracing

_Answer = TypeVar("_Answer")
#: How often position and progress of a watched job are looked at; its status is told at once.
_WATCH_INTERVAL_S = 1.0


@dataclass(frozen=True, slots=True)
class JobView:
    """A job as its owner sees it; `solution` or `certified` may be set when it succeeded."""

    id: str
    state: JobState
    solution: Solution | None = None
    certified: Certified | None = None

    @property
    def best(self) -> Certified | None:
        """While a certification runs, the best so far, without its evidence; None if none is."""
        latest = self.state.latest
        return None if latest is None else certified_of(latest.outputs)


class DataPlane:
    """Solves, jobs and models.

    Arguments:
        catalog: the models.
        broker: where solves go.
        limits: beyond which requests are refused.
        metrics: what is counted.
        jobs_broker: where jobs go, and solves with an idempotency key: a queue that other
            processes see too; None for the same one.
        tracing: where spans go; None keeps none.
        needs_every_model: False for a server that is ready with one of its models loaded, because
            its fleet loads others while it serves.
        clock: Unix seconds.
    """

    def __init__(
        self,
        catalog: Catalog,
        broker: AbstractBroker,
        limits: Limits,
        metrics: Metrics,
        *,
        jobs_broker: AbstractBroker | None = None,
        tracing: Tracing | None = None,
        needs_every_model: bool = True,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.limits = limits
        self._catalog = catalog
        self._broker = broker
        self._jobs_broker = jobs_broker or broker
        self._metrics = metrics
        self._tracing = tracing or Tracing.disabled()
        self._needs_every_model = needs_every_model
        self._intake = Intake(catalog, limits, metrics, clock)
        self._known = KnownCertificates(limits.certificate_cache_bytes)

    # --- Models and health ------------------------------------------------------------------------

    def models(self) -> list[ModelEntry]:
        """Every version of every model, by name."""
        return list(self._catalog)

    def model(self, name: str, version: str | None = None) -> ModelEntry:
        """One version of one model, by default the newest that is ready.

        Raises:
            NotFound: no such model or version.
        """
        return self._catalog.find(name, version)

    def fault(self) -> str | None:
        """Why no request can be served now; None when the queue is within reach."""
        return self._broker.fault

    def ready(self) -> bool:
        """Whether requests can be served: the queue is within reach and the models are loaded."""
        hopeful = [entry for entry in self._catalog if entry.fault is None]
        enough = all if self._needs_every_model else any
        return self.fault() is None and bool(hopeful) and enough(entry.ready for entry in hopeful)

    async def metrics(self) -> bytes:
        """The Prometheus text of this process; without the queue's depth when out of its reach."""
        if self._broker.fault is not None:  # a Redis that hangs would keep the scrape waiting
            return self._metrics.render(None)
        try:
            return self._metrics.render(await self._broker.depth())
        except QueueUnavailable:
            return self._metrics.render(None)

    def check_pressure(self) -> None:
        """Refuse a solve that has not been read yet, when the queue is known to be full.

        A hint that makes refusing cheap; whether a job is taken, the broker's `submit` decides.

        Raises:
            QueueFull: there is no use in reading the body.
        """
        refusal = self._broker.pressure()
        if refusal is not None:
            self._metrics.request_done("", refusal.code)
            raise refusal

    # --- Solves -----------------------------------------------------------------------------------

    async def solve(self, request: SolveRequest) -> Solution:
        """The answer to a request; cancelling the call cancels the job.

        A job under an idempotency key is not cancelled: whoever else sent the key waits for it too.

        Raises:
            ServingError: refused, failed, or not answered in time.
        """
        return await self._counted(request.model, self._solve(request))

    async def solve_within(self, request: SolveRequest, wait_s: float | None) -> Solution | JobView:
        """As `solve`, but a job when the caller has waited long enough.

        Args:
            request: whose deadline counts whatever the caller's patience.
            wait_s: the caller's patience; None for the server's where there is no deadline. With
                a queue of their own for jobs, None means that it does not become one.
        """
        if wait_s is None and self._jobs_broker is not self._broker:
            return await self.solve(request)
        return await self._counted(request.model, self._solve_within(request, wait_s))

    async def stream(self, request: SolveRequest) -> SolveStream:
        """Accept a request whose frames are told as they come; whoever asked closes the stream.

        Raises:
            ServingError: refused.
        """
        try:
            return await self._stream(request)
        except ServingError as error:
            self._metrics.request_done(_known(request.model, error), error.code)
            raise
        except asyncio.CancelledError:
            self._metrics.request_done(request.model, ErrorCode.CANCELLED)
            raise

    async def differentiate(self, request: DerivativeRequest) -> Derivative:
        """A solution and its derivatives; cancelling the call cancels the job.

        Raises:
            ServingError: refused, failed, or not answered in time.
        """
        return await self._counted(request.at.model, self._differentiate(request))

    async def submit_solve(self, request: SolveRequest) -> JobView:
        """Accept a request whose answer is fetched later.

        Raises:
            ServingError: refused.
        """
        return await self._counted(request.model, self._submit_solve(request))

    # --- Certificates -----------------------------------------------------------------------------

    async def certify(self, request: CertifyRequest, terms: Terms) -> Certified:
        """A bound of how fast a model changes; cancelling the call cancels the job.

        Raises:
            ServingError: refused, failed, or not answered in time.
        """
        return await self._counted(request.model, self._certify(request, terms))

    async def certify_within(
        self, request: CertifyRequest, terms: Terms, wait_s: float | None
    ) -> Certified | JobView:
        """As `certify`, but a job when the caller will have, or has, waited long enough.

        Args:
            request: what is asked.
            terms: their deadline counts whatever the caller's patience.
            wait_s: the caller's patience; None for the server's.
        """
        return await self._counted(request.model, self._certify_within(request, terms, wait_s))

    async def submit_certify(self, request: CertifyRequest, terms: Terms) -> JobView:
        """Accept a request for a certificate that is fetched later.

        Raises:
            ServingError: refused.
        """
        return await self._counted(request.model, self._submit_certify(request, terms))

    async def certify_stream(self, request: CertifyRequest, terms: Terms) -> CertifyStream:
        """Accept a request whose certificate is told as it gets better; the caller closes it.

        Raises:
            ServingError: refused.
        """
        try:
            return await self._certify_stream(request, terms)
        except ServingError as error:
            self._metrics.request_done(_known(request.model, error), error.code)
            raise
        except asyncio.CancelledError:
            self._metrics.request_done(request.model, ErrorCode.CANCELLED)
            raise

    # --- Jobs -------------------------------------------------------------------------------------

    async def job(self, job_id: str, *, wait_s: float = 0.0) -> JobView:
        """Where a job stands, after waiting up to `wait_s` seconds for it to end.

        Raises:
            UnknownJob: never accepted, or forgotten.
        """
        return self.with_solution(
            JobView(job_id, await self._jobs_broker.state(job_id, wait_s=wait_s))
        )

    async def cancel(self, job_id: str) -> JobView:
        """End a job unanswered, unless it has ended; without its solution if it has.

        Raises:
            UnknownJob: never accepted, or forgotten.
        """
        return JobView(job_id, await self._jobs_broker.cancel(job_id))

    async def watch(self, job_id: str) -> AsyncIterator[JobView]:
        """A job now, and again whenever it changes; ends with it. Never with its solution.

        Raises:
            UnknownJob: never accepted, or forgotten.
        """
        state = await self._jobs_broker.state(job_id)
        yield JobView(job_id, state)
        while not state.ended:
            seen, state = (
                state,
                await self._jobs_broker.state(
                    job_id, wait_s=_WATCH_INTERVAL_S, unlike=state.status
                ),
            )
            if _visible(state) != _visible(seen):
                yield JobView(job_id, state)

    def with_solution(self, view: JobView) -> JobView:
        """A job with its solution or certificate, if it succeeded.

        Raises:
            ModelNotReady: what its result means was forgotten with its model.
        """
        outcome = view.state.outcome
        if outcome is None:
            return view
        if outcome.kind == "certify":
            return replace(view, certified=certified_of(outcome.outputs))
        return replace(view, solution=self._solution(outcome))

    # --- Steps of a solve -------------------------------------------------------------------------

    async def _counted(self, model: str, answer: Coroutine[Any, Any, _Answer]) -> _Answer:
        try:
            answered = await answer
        except ServingError as error:
            self._metrics.request_done(_known(model, error), error.code)
            raise
        except asyncio.CancelledError:
            self._metrics.request_done(model, ErrorCode.CANCELLED)
            raise
        self._metrics.request_done(model, "accepted" if isinstance(answered, JobView) else "ok")
        return answered

    async def _solve(self, request: SolveRequest) -> Solution:
        with self._tracing.solve(request.model, request.terms.traceparent) as traceparent:
            job = self._intake.admit(request, traceparent)
            pending = await self._submit(job, request, self._broker, keep_result=False)
            outcome = await pending.outcome(self._patience_s(request.terms))
            if outcome is None:
                raise await pending.given_up()
            return self._solution(outcome)

    async def _solve_within(
        self, request: SolveRequest, wait_s: float | None
    ) -> Solution | JobView:
        patience_s = self._patience_s(request.terms)
        if wait_s is not None:
            patience_s = wait_s if patience_s is None else min(wait_s, patience_s)
        with self._tracing.solve(request.model, request.terms.traceparent) as traceparent:
            job = self._intake.admit(request, traceparent)
            pending = await self._submit(job, request, self._jobs_broker, keep_result=False)
            outcome = await pending.outcome(patience_s)
            if outcome is None and (pending.shared or await pending.broker.keep(pending.id)):
                return await self._accepted(pending)
            return self._solution(outcome or await pending.broker.result(pending.id))

    async def _submit_solve(self, request: SolveRequest) -> JobView:
        with self._tracing.solve(request.model, request.terms.traceparent) as traceparent:
            job = self._intake.admit(request, traceparent)
            pending = await self._submit(job, request, self._jobs_broker, keep_result=True)
        return await self._accepted(pending)

    async def _differentiate(self, request: DerivativeRequest) -> Derivative:
        at = request.at
        if at.terms.idempotency_key:
            raise InvalidOption(
                "derivatives are not kept; leave the key out", field="Idempotency-Key"
            )
        with self._tracing.solve(at.model, at.terms.traceparent) as traceparent:
            job = self._intake.admit(at, traceparent)
            artifact = self._catalog.recall(job.model)
            limit = self.limits.max_body_bytes
            job = directions.added(job, request, artifact.manifest, max_bytes=limit)
            pending = await self._submit(job, at, self._broker, keep_result=False)
            outcome = await pending.outcome(self._patience_s(at.terms))
            if outcome is None:
                raise await pending.given_up()
            return derivative_of(outcome, artifact, request.kind)

    async def _certify(self, request: CertifyRequest, terms: Terms) -> Certified:
        with self._tracing.solve(request.model, terms.traceparent) as traceparent:
            job = self._intake.admit_certification(request, terms, traceparent)
            known = await self._known.find(job)
            if known is not None and not terms.idempotency_key:
                return known
            pending = await self._submit(job, None, self._broker, keep_result=False)
            outcome = await pending.outcome(self._patience_s(terms, request.budget_s))
            if outcome is None:
                raise await pending.given_up()
            return await self._known.best(job, outcome)

    async def _certify_within(
        self, request: CertifyRequest, terms: Terms, wait_s: float | None
    ) -> Certified | JobView:
        patience_s = self.limits.max_wait_s
        if wait_s is not None:
            patience_s = min(wait_s, patience_s)
        if request.budget_s > patience_s:
            return await self._submit_certify(request, terms)
        if wait_s is None and self._jobs_broker is not self._broker:
            return await self._certify(request, terms)
        with self._tracing.solve(request.model, terms.traceparent) as traceparent:
            job = self._intake.admit_certification(request, terms, traceparent)
            known = await self._known.find(job)
            if known is not None and not terms.idempotency_key:
                return known
            pending = await self._submit(job, None, self._jobs_broker, keep_result=False)
            outcome = await pending.outcome(patience_s)
            if outcome is None and (pending.shared or await pending.broker.keep(pending.id)):
                return await self._accepted(pending)
            outcome = outcome or await pending.broker.result(pending.id)
            return await self._known.best(job, outcome)

    async def _submit_certify(self, request: CertifyRequest, terms: Terms) -> JobView:
        with self._tracing.solve(request.model, terms.traceparent) as traceparent:
            job = self._intake.admit_certification(request, terms, traceparent)
            pending = await self._submit(job, None, self._jobs_broker, keep_result=True)
        return await self._accepted(pending)

    async def _certify_stream(self, request: CertifyRequest, terms: Terms) -> CertifyStream:
        _refuse_key(terms)
        with self._tracing.solve(request.model, terms.traceparent) as traceparent:
            job = self._intake.admit_certification(request, terms, traceparent)
            job = replace(job, work=replace(job.work, stream=True))
            pending = await self._submit(job, None, self._broker, keep_result=False)
        patience_s = self.limits.max_wait_s + request.budget_s
        return CertifyStream(pending, request.model, patience_s=patience_s, metrics=self._metrics)

    async def _stream(self, request: SolveRequest) -> SolveStream:
        _refuse_key(request.terms)
        with self._tracing.solve(request.model, request.terms.traceparent) as traceparent:
            job = self._intake.admit(request, traceparent)
            job = replace(job, work=replace(job.work, stream=True))
            pending = await self._submit(job, request, self._broker, keep_result=False)
        return SolveStream(
            job,
            pending,
            self._catalog.recall(job.model),
            patience_s=self.limits.max_wait_s,
            metrics=self._metrics,
        )

    async def _submit(
        self,
        job: SolveJob,
        request: SolveRequest | None,
        broker: AbstractBroker,
        *,
        keep_result: bool,
    ) -> Pending:
        if job.terms.idempotency_key:
            return await self._intake.submit_once(job, request, self._jobs_broker)
        return await self._intake.submit(job, broker, keep_result=keep_result)

    def _patience_s(self, terms: Terms, more_s: float = 0.0) -> float | None:
        return self.limits.max_wait_s + more_s if terms.deadline is None else None

    async def _accepted(self, pending: Pending) -> JobView:
        # Were the queue lost just now: it has the job, and without the id it would be sent again.
        return JobView(pending.id, await pending.state() or JobState("queued"))

    def _solution(self, outcome: Outcome) -> Solution:
        return solution_of(outcome, self._catalog.recall(outcome.model))


def _refuse_key(terms: Terms) -> None:
    if terms.idempotency_key:
        raise InvalidOption(
            "a stream is for one reader; leave the key out", field="Idempotency-Key"
        )


def _visible(state: JobState) -> tuple[str, int | None, float, int | None]:
    latest = None if state.latest is None else state.latest.index
    return state.status, state.position, state.progress, latest


def _known(model: str, error: ServingError) -> str:
    # A label per misspelt model would let strangers grow the metrics without bound.
    return "" if error.code == "unknown_model" else model

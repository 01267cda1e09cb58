"""From a request to its job in a queue."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from . import admission
from .broker import AbstractBroker
from .broker.base import Idempotency
from .catalog import Catalog
from .certification import admission as certification
from .certification import question
from .certification.request import CertifyRequest
from .errors import BodyTooLarge, DeadlineExceeded, InvalidOption, ModelNotReady
from .job_ids import JobIds
from .jobs import Array, Artifact, SolveContext, SolveJob, SolveRequest, Terms, Work
from .pending import Pending
from .telemetry import Metrics

# Hashing more than this would keep other requests waiting.
_MAX_HASHED_IN_PLACE = 1 << 20
#: Of a certificate, which says itself what it is of.
_NO_CONTEXT = SolveContext((), {}, None, None, diagnostics=False)


@dataclass(frozen=True, slots=True)
class Limits:
    """What one server takes on.

    Attributes:
        max_body_bytes: of one request.
        max_wait_s: longest a caller is kept waiting without a deadline of its own.
        max_certify_s: longest search for a certificate.
        certificate_cache_bytes: of certificates that are kept to answer again.
    """

    max_body_bytes: int
    max_wait_s: float
    max_certify_s: float = 600.0
    certificate_cache_bytes: int = 64 << 20


class Intake:
    """Makes jobs of requests, and submits them.

    Arguments:
        catalog: the models.
        limits: beyond which requests are refused.
        metrics: for those who wait.
        clock: Unix seconds.
    """

    def __init__(
        self, catalog: Catalog, limits: Limits, metrics: Metrics, clock: Callable[[], float]
    ) -> None:
        self._catalog = catalog
        self._limits = limits
        self._metrics = metrics
        self._clock = clock
        self._job_ids = JobIds()

    def admit(self, request: SolveRequest, traceparent: str) -> SolveJob:
        """The job of a request.

        Args:
            request: as it came.
            traceparent: of the span that the job belongs to.

        Raises:
            ServingError: the request is refused.
        """
        artifact = self._find(request.model, request.version)
        manifest, terms, now = artifact.manifest, request.terms, self._clock()
        admitted = admission.check(request, manifest)
        inputs = admission.on_program_grid(admitted, manifest)
        self._check_size(inputs)
        # Other answers are about as large as what was sent.
        num_answer_bytes = admission.answer_bytes(admitted, manifest) if manifest.advances else 0
        self._check_answer_size(num_answer_bytes, "t" if request.steps is None else "steps")
        _check_deadline(terms, now)
        return SolveJob(
            id=self._job_ids.next(),
            model=artifact.key,
            inputs=inputs,
            parameters=admitted.parameters,
            submitted_at=now,
            context=admission.context(admitted, manifest, diagnostics=request.diagnostics),
            terms=_traced(terms, traceparent),
            work=admission.work(admitted, manifest, diagnostics=request.diagnostics),
            num_answer_bytes=num_answer_bytes,
        )

    def admit_certification(
        self, request: CertifyRequest, terms: Terms, traceparent: str
    ) -> SolveJob:
        """The job of a request for a certificate.

        Args:
            request: as it came.
            terms: when, for whom and how urgently.
            traceparent: of the span that the job belongs to.

        Raises:
            ServingError: the request is refused.
        """
        artifact, now = self._find(request.model, request.version), self._clock()
        checked = certification.check(
            request, artifact.manifest, max_budget_s=self._limits.max_certify_s
        )
        asked = question.encode(checked)
        self._check_size(asked.arrays)
        _check_deadline(terms, now)
        return SolveJob(
            id=self._job_ids.next(),
            model=artifact.key,
            inputs=asked.arrays,
            parameters=(),
            submitted_at=now,
            context=_NO_CONTEXT,
            terms=_traced(terms, traceparent),
            work=Work(kind="certify", question=asked.text),
        )

    async def submit(self, job: SolveJob, broker: AbstractBroker, *, keep_result: bool) -> Pending:
        """Put a job into a queue, for one who waits.

        Raises:
            ServingError: the queue refuses it.
        """
        pending = self._pending(job, job.id, broker)
        try:
            await broker.submit(job, keep_result=keep_result)
        except asyncio.CancelledError:
            await pending.abandon()
            raise
        return pending

    async def submit_once(
        self, job: SolveJob, request: SolveRequest | None, broker: AbstractBroker
    ) -> Pending:
        """Put a job with an idempotency key into a queue, or find the one that was there before.

        Args:
            job: new.
            request: that it was made of; None for one that says itself what is asked.
            broker: of the queue.

        Raises:
            ServingError: the queue refuses it.
        """
        digest = await _digest(job, request)
        idempotency = Idempotency(job.terms.idempotency_key, digest)
        job_id = await broker.submit(job, keep_result=True, idempotency=idempotency)
        return self._pending(job, job_id, broker, shared=True)

    def _find(self, model: str, version: str | None) -> Artifact:
        entry = self._catalog.find(model, version)
        if not entry.ready:
            reason = entry.fault or "no worker has loaded it yet"
            raise ModelNotReady(f"{model}: {reason}", retry_after_s=None if entry.fault else 1.0)
        return entry.artifact

    def _check_answer_size(self, num_bytes: int, field: str) -> None:
        if num_bytes > self._limits.max_body_bytes:
            raise InvalidOption(
                f"the answer would have {num_bytes} bytes; at most {self._limits.max_body_bytes}: "
                "ask for fewer times",
                field=field,
            )

    def _check_size(self, inputs: tuple[Array, ...]) -> None:
        num_bytes = sum(array.nbytes for array in inputs)
        if num_bytes > self._limits.max_body_bytes:
            raise BodyTooLarge(
                f"inputs of {num_bytes} bytes; at most {self._limits.max_body_bytes}"
            )

    def _pending(
        self, job: SolveJob, job_id: str, broker: AbstractBroker, *, shared: bool = False
    ) -> Pending:
        return Pending(
            id=job_id,
            broker=broker,
            asked_at=job.submitted_at,
            deadline=job.terms.deadline,
            metrics=self._metrics,
            clock=self._clock,
            shared=shared,
        )


async def _digest(job: SolveJob, request: SolveRequest | None) -> str:
    if request is None:
        asked = question.Question(job.work.question, job.inputs)
        digest = partial(question.digest, asked)
    else:
        digest = partial(admission.digest, request)
    return digest() if job.num_bytes <= _MAX_HASHED_IN_PLACE else await asyncio.to_thread(digest)


def _check_deadline(terms: Terms, now: float) -> None:
    if terms.deadline is not None and terms.deadline <= now:
        raise DeadlineExceeded("the deadline had passed on arrival")


def _traced(terms: Terms, traceparent: str) -> Terms:
    return terms if traceparent == terms.traceparent else replace(terms, traceparent=traceparent)

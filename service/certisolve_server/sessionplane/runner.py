"""What a session computes is a job like any other."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace

from certisolve_server.broker import AbstractBroker
from certisolve_server.catalog import Catalog
from certisolve_server.errors import DeadlineExceeded, ModelNotReady
from certisolve_server.job_ids import JobIds
from certisolve_server.jobs import Artifact, ModelKey, Outcome, SolveJob, Terms
from certisolve_server.pending import Pending
from certisolve_server.sessions.course import Ask
from certisolve_server.sessions.state import SessionState
from certisolve_server.telemetry import Metrics, Tracing


class Runner:
    """Has workers compute what sessions ask.

    Arguments:
        catalog: the models.
        broker: where jobs go.
        max_wait_s: longest a call may take without a deadline of its own.
        metrics: where deadlines that were missed are counted.
        tracing: where spans go.
        clock: Unix seconds.
    """

    def __init__(
        self,
        catalog: Catalog,
        broker: AbstractBroker,
        max_wait_s: float,
        metrics: Metrics,
        *,
        tracing: Tracing,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._catalog = catalog
        self._broker = broker
        self._max_wait_s = max_wait_s
        self._metrics = metrics
        self._tracing = tracing
        self._clock = clock
        self._job_ids = JobIds()

    def terms_of_call(self, terms: Terms) -> Terms:
        """The terms of a call's jobs: one deadline for all of them, and no key.

        Raises:
            DeadlineExceeded: it has passed.
        """
        now = self._clock()
        if terms.deadline is not None and terms.deadline <= now:
            raise DeadlineExceeded("the deadline had passed on arrival")
        deadline = now + self._max_wait_s if terms.deadline is None else terms.deadline
        return replace(terms, deadline=deadline, idempotency_key="")

    def newest(self, name: str, version: str | None) -> Artifact:
        """The artifact that a new session of a model begins with.

        Raises:
            NotFound: no such model or version.
            ModelNotReady: no worker has loaded it.
        """
        entry = self._catalog.find(name, version)
        if not entry.ready:
            reason = entry.fault or "no worker has loaded it yet"
            raise ModelNotReady(f"{name}: {reason}", retry_after_s=None if entry.fault else 1.0)
        return entry.artifact

    def artifact(self, key: ModelKey) -> Artifact:
        """The artifact that a session began with.

        Raises:
            ModelNotReady: it was never listed here, or long ago.
        """
        try:
            return self._catalog.recall(key)
        except ModelNotReady as error:
            raise _gone(key) from error

    async def run(self, state: SessionState, ask: Ask, terms: Terms) -> Outcome:
        """The outcome of a job; cancelling the call cancels the job.

        Raises:
            ServingError: refused, failed, or not answered in time.
        """
        if self.newest(state.model.name, state.model.version).key != state.model:
            raise _gone(state.model)
        with self._tracing.solve(state.model.name, terms.traceparent) as traceparent:
            job = self._job(state, ask, replace(terms, traceparent=traceparent))
            pending = self._pending(job)
            try:
                await self._broker.submit(job, keep_result=False)
            except asyncio.CancelledError:
                await pending.abandon()
                raise
            outcome = await pending.outcome(None)
            if outcome is None:
                raise await pending.given_up()
            return outcome

    def _job(self, state: SessionState, ask: Ask, terms: Terms) -> SolveJob:
        return SolveJob(
            id=self._job_ids.next(),
            model=state.model,
            inputs=ask.inputs,
            parameters=state.parameters,
            submitted_at=self._clock(),
            context=ask.context,
            terms=terms,
            work=ask.work,
            num_answer_bytes=ask.num_answer_bytes,
            states=ask.states,
        )

    def _pending(self, job: SolveJob) -> Pending:
        return Pending(
            id=job.id,
            broker=self._broker,
            asked_at=job.submitted_at,
            deadline=job.terms.deadline,
            metrics=self._metrics,
            clock=self._clock,
        )


def _gone(key: ModelKey) -> ModelNotReady:
    return ModelNotReady(
        f"the session belongs to {key.name} {key.version} of digest {key.digest or 'unknown'}, "
        "which no worker serves now"
    )

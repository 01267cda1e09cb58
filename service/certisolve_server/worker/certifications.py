"""Certifications beside the device: one process each, told of and ended like all other jobs."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import aclosing, closing
from typing import Any, NamedTuple

import numpy as np
import orjson

from certisolve_server.broker import Capacity
from certisolve_server.broker.envelope import decode_error, encode_job
from certisolve_server.certification import channel, question
from certisolve_server.certification.cache import CertificateCache
from certisolve_server.certification.version import CERTIFIER
from certisolve_server.errors import DeadlineExceeded, InternalError, NotCertified, ServingError
from certisolve_server.jobs import Array, ModelKey, Outcome, SolveJob, Timings
from certisolve_server.telemetry import Metrics, Tracing

from .held import Held
from .improvements import Improvements
from .placement import Placement
from .prover_process import ProverDied, ProverOptions, ProverProcess
from .tally import Tally

_log = logging.getLogger(__name__)
#: Of the time until a deadline, what the end of a search and the way of the answer take.
_MARGIN_S = 0.5
#: What the start of a process may take, and, beyond its budget, a search to begin and to end.
_START_S, _GRACE_S = 120.0, 60.0
#: How often a job is begun whose prover dies before anything is proven.
_ATTEMPTS = 2


class CertifyOptions(NamedTuple):
    """How a worker certifies.

    Attributes:
        concurrency: certifications at a time, each in a process; 0 for a worker that does not.
        prover: how such a process is started.
        cache_bytes: of certificates that are kept for when they are asked for again.
    """

    concurrency: int = 1
    prover: ProverOptions = ProverOptions()
    cache_bytes: int = 64 << 20


class _Run(NamedTuple):
    held: Held
    task: "asyncio.Task[None]"
    started_at: float
    budget_s: float


class Certifications:
    """Runs claimed certifications, each in a process that is killed when nobody wants it any more.

    Arguments:
        placement: the models that may be asked about.
        options: how many, and how.
        metrics: what is counted.
        tracing: where spans go.
        clock: Unix seconds.
        changed: called when one has ended.
    """

    def __init__(
        self,
        placement: Placement,
        options: CertifyOptions,
        *,
        metrics: Metrics,
        tracing: Tracing,
        clock: Callable[[], float],
        changed: Callable[[], None],
    ) -> None:
        self.num_running: Tally[ModelKey] = Tally()
        self._placement = placement
        self._metrics = metrics
        self._tracing = tracing
        self._clock = clock
        self._changed = changed
        self._cache = CertificateCache(options.cache_bytes)
        self._provers = [ProverProcess(options.prover) for _ in range(options.concurrency)]
        self._idle = list(self._provers)
        self._runs: dict[str, _Run] = {}
        # Those of jobs that were dropped end a little later.
        self._tasks: set[asyncio.Task[None]] = set()

    async def stop(self) -> None:
        """End all processes."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for prover in self._provers:
            prover.kill()
            await prover.buried()

    @property
    def num_free(self) -> int:
        """How many more can run now."""
        return len(self._idle)

    @property
    def capacity(self) -> Capacity:
        """What may be claimed now."""
        return Capacity(dict.fromkeys(self._placement, self.num_free), pool="certify")

    def add(self, held: Held) -> None:
        """Take a claimed job in, which runs at once: there is room for it."""
        job = held.job
        self.drop(job.id)
        prover = self._idle.pop()
        self.num_running[job.model] += 1
        self._metrics.certifying(1)
        now = self._clock()
        budget_s = _budget_s(job, now)
        directory = self._placement[job.model].engine.artifact.directory
        task = asyncio.create_task(self._run(held, prover, directory, budget_s))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self._runs[job.id] = _Run(held, task, now, budget_s)

    def drop(self, job_id: str) -> Held | None:
        """Stop a job and its process at once; None if it does not run."""
        run = self._runs.pop(job_id, None)
        if run is None:
            return None
        run.task.cancel()
        return run.held

    def running(self, key: ModelKey | None = None) -> list[str]:
        """The ids of jobs that run, of one model or of all."""
        return [i for i, run in self._runs.items() if key in (None, run.held.job.model)]

    def progress(self) -> Mapping[str, float]:
        """By job, the share of its budget that is spent."""
        now = self._clock()
        return {
            job_id: min(0.99, max(0.0, now - run.started_at) / max(run.budget_s, 1e-3))
            for job_id, run in self._runs.items()
        }

    async def _run(
        self, held: Held, prover: ProverProcess, directory: str, budget_s: float
    ) -> None:
        job, began = held.job, self._clock()
        result = "cancelled"
        try:
            document = await self._certify(held, prover, directory, budget_s)
            self._report(held, document, began)
            result = str(orjson.loads(document)["status"])
        except ServingError as error:
            result = error.code
            held.fail(error)
        except Exception as error:
            result = InternalError.code
            _log.error(
                "certification_failed job=%s model=%s", job.id, job.model.name, exc_info=error
            )
            held.fail(error)
        finally:
            self._idle.append(prover)
            self.num_running.leave(job.model)
            if job.id in self._runs and self._runs[job.id].held is held:
                del self._runs[job.id]
            self._metrics.certifying(-1)
            self._metrics.certification_done(job.model.name, result, self._clock() - began)
            self._changed()

    async def _certify(
        self, held: Held, prover: ProverProcess, directory: str, budget_s: float
    ) -> bytes:
        """The certificate, found now or before."""
        job = held.job
        asked = question.Question(job.work.question, job.inputs)
        # Large sets are hashed for longer than others should wait.
        key = await asyncio.to_thread(question.key, asked, job.model, CERTIFIER)
        search = {**question.search_of(asked.text), "budget_s": budget_s}
        known = self._cache.find(key, search)
        if known is not None:
            self._metrics.certificate_reused(job.model.name)
            return known
        header = {"directory": directory, "budget_s": budget_s}
        with closing(Improvements(held)) as found:
            for _ in range(_ATTEMPTS):
                document = await self._attempt(held, prover, header, found)
                if document is not None:
                    return self._cache.put(key, search, document)
        raise InternalError(f"its process died {_ATTEMPTS} times; the log has more under {job.id}")

    async def _attempt(
        self, held: Held, prover: ProverProcess, header: Mapping[str, Any], found: Improvements
    ) -> bytes | None:
        """The certificate; None where the process died before anything was proven."""
        job = held.job
        try:
            return await self._prove(held, prover, header, found)
        except ProverDied as error:
            _log.warning("prover_died job=%s model=%s", job.id, job.model.name, exc_info=error)
            return found.cut_short("its process died")
        except TimeoutError as error:
            document = found.cut_short("its budget was over long ago")
            if document is None:
                raise self._late(job) from error
            return document

    async def _prove(
        self, held: Held, prover: ProverProcess, header: Mapping[str, Any], found: Improvements
    ) -> bytes:
        """The certificate, from a process that is killed unless it ended its search by itself.

        Raises:
            ProverDied: it ended otherwise.
            TimeoutError: it took too long.
            ServingError: nothing is certified, and why.
        """
        job, ended = held.job, False
        message = channel.encode_job(header, encode_job(job).to_bytes())
        try:
            async with asyncio.timeout(self._limit_s(job, _START_S)):
                await prover.open()
            async with asyncio.timeout(self._limit_s(job, header["budget_s"] + _GRACE_S)):
                async with aclosing(prover.prove(message)) as said:
                    async for kind, payload in said:
                        ended = kind in (channel.DONE, channel.REFUSED)
                        if kind == channel.DONE:
                            return payload
                        if kind == channel.REFUSED:
                            raise decode_error(payload)
                        found.put(payload)
        finally:
            if not ended:
                prover.kill()
        raise ProverDied("it said nothing more")

    def _limit_s(self, job: SolveJob, limit_s: float) -> float:
        deadline = job.terms.deadline
        if deadline is None:
            return limit_s
        return min(limit_s, max(0.0, deadline - self._clock() - _MARGIN_S / 2))

    def _late(self, job: SolveJob) -> ServingError:
        deadline = job.terms.deadline
        if deadline is not None and deadline <= self._clock() + _MARGIN_S:
            self._metrics.deadline_missed("running")
            return DeadlineExceeded("the deadline passed while it was being certified")
        return NotCertified("nothing was proven within the budget and a minute more")

    def _report(self, held: Held, document: bytes, began: float) -> None:
        job, now = held.job, self._clock()
        queue_ms, compute_ms = 1e3 * (began - job.submitted_at), 1e3 * (now - began)
        outcome = Outcome(
            model=job.model,
            outputs=(_as_array(document),),
            finite=True,
            timings=Timings(queue_ms, 0.0, compute_ms),
            batch_size=1,
            context=job.context,
            kind="certify",
        )
        held.source.answer([(held.claim, outcome)], len(document))
        if job.terms.traceparent:
            self._tracing.batch(
                job.model,
                [job.terms.traceparent],
                began,
                now,
                1,
                queue_ms=[queue_ms],
                compute_ms=compute_ms,
            )


def _budget_s(job: SolveJob, now: float) -> float:
    budget_s: float = question.search_of(job.work.question)["budget_s"]
    deadline = job.terms.deadline
    return budget_s if deadline is None else max(0.0, min(budget_s, deadline - now - _MARGIN_S))


def _as_array(document: bytes) -> Array:
    return np.frombuffer(document, np.uint8)

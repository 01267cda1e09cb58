"""Prometheus metrics of one process; counted in the event loop's thread."""

import functools
from collections.abc import Sequence
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from certisolve_server.jobs import ModelKey

from .triton import TritonTotals, render_triton

_BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_LONG_SECONDS = (*_SECONDS, 30, 60, 120, 300)
_CERTIFY_SECONDS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 600)


class FinishedBatch(Protocol):
    """What the metrics read of a batch."""

    @property
    def batch_size(self) -> int:
        """Requests in the forward pass."""

    @property
    def padded_size(self) -> int:
        """Rows in the forward pass."""

    @property
    def batch_ms(self) -> float:
        """Milliseconds of assembling the batch."""

    @property
    def compute_ms(self) -> float:
        """Milliseconds in the forward pass."""


class FinishedSteps(Protocol):
    """What the metrics read of steps that were made in one go."""

    @property
    def num_steps(self) -> int:
        """How many."""

    @property
    def padded_size(self) -> int:
        """Rows in each."""

    @property
    def compute_ms(self) -> float:
        """Milliseconds of all of them together."""


class DepthLike(Protocol):
    """What the metrics read of a queue's depth."""

    @property
    def num_jobs(self) -> int:
        """Requests waiting or running."""

    @property
    def num_bytes(self) -> int:
        """Bytes of their inputs."""

    @property
    def expected_s(self) -> float:
        """Seconds until all of them are done."""


class Metrics:
    """Counters and histograms, in a registry of their own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._answers = _AnswerMetrics(self._registry)
        self._batches = _BatchMetrics(self._registry)
        self._queue = _QueueMetrics(self._registry)
        self._certifications = _CertifyMetrics(self._registry)

    def request_done(self, model: str, code: str) -> None:
        """Count an answer; `code` is `ok` or an error code."""
        self._answers.counter(model, code).inc()

    def batch_done(self, key: ModelKey, batch: FinishedBatch, queue_ms: Sequence[float]) -> None:
        """Count a forward pass.

        Args:
            key: of the model.
            batch: sizes and times.
            queue_ms: per request, milliseconds from submission to the start of the batch.
        """
        self._batches.series(key.name, key.version).add(batch, queue_ms)

    def steps_done(
        self,
        key: ModelKey,
        batch_size: int,
        steps: FinishedSteps,
        queue_ms: Sequence[float],
        num_ended: int,
    ) -> None:
        """Count steps of a batch that goes on.

        Args:
            key: of the model.
            batch_size: requests in the steps.
            steps: how many, and how long they took.
            queue_ms: per request that joined, milliseconds from submission to its first step.
            num_ended: requests that were answered after them.
        """
        series = self._batches.series(key.name, key.version)
        series.add_steps(batch_size, steps, queue_ms, num_ended)

    def batch_failed(self, key: ModelKey, num_requests: int) -> None:
        """Count requests whose forward pass failed."""
        self._batches.series(key.name, key.version).totals.failures += num_requests

    def certifying(self, change: int) -> None:
        """Count certifications that began, or, below 0, ended."""
        self._certifications.in_flight.inc(change)

    def certification_done(self, model: str, result: str, seconds: float) -> None:
        """Count a certification; `result` is the status of its certificate or an error code."""
        self._certifications.ended.labels(model, result).inc()
        self._certifications.seconds.labels(model).observe(seconds)

    def certificate_reused(self, model: str) -> None:
        """Count a question that was answered by a certificate found before."""
        self._certifications.reused.labels(model).inc()

    def deadline_missed(self, stage: str) -> None:
        """Count a missed deadline; `stage` is where the request was."""
        self._answers.deadlines.labels(stage).inc()

    def leases_renewed(self, n: int) -> None:
        """Count jobs held for another lease."""
        self._queue.renewals.inc(n)

    def redelivered(self, n: int) -> None:
        """Count jobs taken from workers that gave no sign of life."""
        self._queue.redeliveries.inc(n)

    def dead_lettered(self, n: int) -> None:
        """Count jobs put aside."""
        self._queue.dead_letters.inc(n)

    def fenced(self, n: int) -> None:
        """Count answers that came too late to count."""
        self._queue.fenced.inc(n)

    def render(self, depth: DepthLike | None) -> bytes:
        """The Prometheus text format, with the depth as of now; None where it is unknown."""
        text = generate_latest(self._registry)
        if depth is not None:
            text += generate_latest(_depth_gauges(depth))
        num_pending = None if depth is None else depth.num_jobs
        return text + render_triton(self._batches.totals, num_pending)


class _AnswerMetrics:
    """What a gateway counts."""

    def __init__(self, registry: CollectorRegistry) -> None:
        requests = Counter(
            "certisolve_requests", "Answered requests.", ["model", "code"], registry=registry
        )
        # Looking a label up takes longer than counting.
        self.counter = functools.cache(requests.labels)
        self.deadlines = Counter(
            "certisolve_deadlines_missed",
            "Requests whose deadline passed, by the stage it passed in.",
            ["stage"],
            registry=registry,
        )


class _BatchMetrics:
    """What a worker counts, per model."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.totals: dict[tuple[str, str], TritonTotals] = {}
        histogram = functools.partial(Histogram, labelnames=["model"], registry=registry)
        self._size = histogram(
            "certisolve_batch_size", "Requests per forward pass.", buckets=_BATCH_SIZES
        )
        self._queued = histogram(
            "certisolve_queue_seconds",
            "From submission of a request to the start of its batch, or to its first step.",
            buckets=_LONG_SECONDS,
        )
        self._assembly = histogram(
            "certisolve_batch_seconds", "Assembling a batch.", buckets=_SECONDS
        )
        self._compute = histogram(
            "certisolve_compute_seconds", "Forward pass of a batch.", buckets=_SECONDS
        )
        self._padding = Counter(
            "certisolve_padding_rows",
            "Rows of forward passes that held no request.",
            ["model"],
            registry=registry,
        )
        self.series = functools.cache(self._new_series)

    def _new_series(self, name: str, version: str) -> "_Series":
        totals = self.totals[name, version] = TritonTotals()
        return _Series(
            totals,
            self._size.labels(name),
            self._queued.labels(name),
            self._assembly.labels(name),
            self._compute.labels(name),
            self._padding.labels(name),
        )


class _Series:
    """The series of one model, its labels looked up."""

    def __init__(
        self,
        totals: TritonTotals,
        size: Histogram,
        queued: Histogram,
        assembly: Histogram,
        compute: Histogram,
        padding: Counter,
    ) -> None:
        self.totals = totals
        self._observe_size = size.observe
        self._observe_queued = queued.observe
        self._observe_assembly = assembly.observe
        self._observe_compute = compute.observe
        self._count_padding = padding.inc

    def add(self, batch: FinishedBatch, queue_ms: Sequence[float]) -> None:
        size, batch_ms, compute_ms = batch.batch_size, batch.batch_ms, batch.compute_ms
        self._observe_size(size)
        self._observe_assembly(batch_ms / 1e3)
        self._observe_compute(compute_ms / 1e3)
        for waited_ms in queue_ms:
            self._observe_queued(waited_ms / 1e3)
        if batch.padded_size > size:
            self._count_padding(batch.padded_size - size)
        self.totals.add(size, sum(queue_ms), batch_ms, compute_ms)

    def add_steps(
        self, size: int, steps: FinishedSteps, queue_ms: Sequence[float], num_ended: int
    ) -> None:
        for _ in range(steps.num_steps):
            self._observe_size(size)
            self._observe_compute(steps.compute_ms / steps.num_steps / 1e3)
        for waited_ms in queue_ms:
            self._observe_queued(waited_ms / 1e3)
        if steps.padded_size > size:
            self._count_padding(steps.num_steps * (steps.padded_size - size))
        self.totals.add_steps(steps.num_steps, size, sum(queue_ms), steps.compute_ms, num_ended)


class _QueueMetrics:
    """What workers and the reaper count of deliveries."""

    def __init__(self, registry: CollectorRegistry) -> None:
        counter = functools.partial(Counter, registry=registry)
        self.renewals = counter(
            "certisolve_lease_renewals", "Jobs held for another lease by this worker."
        )
        self.redeliveries = counter(
            "certisolve_redeliveries", "Jobs taken from workers that gave no sign of life."
        )
        self.dead_letters = counter(
            "certisolve_dead_letters", "Jobs put aside after their last delivery."
        )
        self.fenced = counter(
            "certisolve_fenced_answers", "Answers of this worker that came too late to count."
        )


class _CertifyMetrics:
    """What a worker counts of certifications."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.ended = Counter(
            "certisolve_certifications",
            "Certifications by how they ended: certified, budget_exhausted, unbounded, cancelled, "
            "or the code of an error.",
            ["model", "result"],
            registry=registry,
        )
        self.reused = Counter(
            "certisolve_certificates_reused",
            "Of these, answered by a certificate that was found before.",
            ["model"],
            registry=registry,
        )
        self.seconds = Histogram(
            "certisolve_certify_seconds",
            "From the start of a certification to its end.",
            ["model"],
            buckets=_CERTIFY_SECONDS,
            registry=registry,
        )
        self.in_flight = Gauge(
            "certisolve_certifications_in_flight",
            "Certifications that run now.",
            registry=registry,
        )


def _depth_gauges(depth: DepthLike) -> CollectorRegistry:
    # Made anew for each scrape: a depth that is not known now must not be shown as it was.
    registry = CollectorRegistry()
    gauge = functools.partial(Gauge, registry=registry)
    gauge("certisolve_queue_depth", "Requests waiting or running.").set(depth.num_jobs)
    gauge("certisolve_queue_bytes", "Bytes of their inputs.").set(depth.num_bytes)
    gauge("certisolve_queue_expected_seconds", "Until all of them are done.").set(depth.expected_s)
    return registry

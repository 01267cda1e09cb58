"""Prometheus metrics of one process."""

import functools
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from certisolve_server.jobs import ModelKey

_BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class FinishedBatch(Protocol):
    """What the metrics read of a batch."""

    @property
    def batch_size(self) -> int:
        """Requests in the forward pass."""

    @property
    def compute_ms(self) -> float:
        """Milliseconds in the forward pass."""


class Metrics:
    """Counters and histograms, in a registry of their own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "certisolve_requests", "Answered requests.", ["model", "code"], registry=self._registry
        )
        self._batch_size = Histogram(
            "certisolve_batch_size",
            "Requests per forward pass.",
            ["model"],
            buckets=_BATCH_SIZES,
            registry=self._registry,
        )
        self._compute = Histogram(
            "certisolve_compute_seconds",
            "Forward pass of a batch.",
            ["model"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._deadlines = Counter(
            "certisolve_deadlines_missed",
            "Requests whose deadline passed, by the stage it passed in.",
            ["stage"],
            registry=self._registry,
        )
        self._queued = Gauge(
            "certisolve_queue_depth", "Requests waiting or running.", registry=self._registry
        )

        # Looking a label up takes longer than counting.
        self._request_counter = functools.cache(self._requests.labels)
        self._size_histogram = functools.cache(self._batch_size.labels)
        self._compute_histogram = functools.cache(self._compute.labels)

    def request_done(self, model: str, code: str) -> None:
        """Count an answer; `code` is `ok` or an error code."""
        self._request_counter(model, code).inc()

    def batch_done(self, model: ModelKey, batch: FinishedBatch) -> None:
        """Count a forward pass."""
        self._size_histogram(model.name).observe(batch.batch_size)
        self._compute_histogram(model.name).observe(batch.compute_ms / 1e3)

    def deadline_missed(self, stage: str) -> None:
        """Count a missed deadline; `stage` is where the request was."""
        self._deadlines.labels(stage).inc()

    def render(self, queue_depth: int) -> bytes:
        """The Prometheus text format, with the queue depth as of now."""
        self._queued.set(queue_depth)
        return generate_latest(self._registry)

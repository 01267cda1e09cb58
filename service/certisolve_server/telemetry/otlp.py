"""Tracing that exports to an OpenTelemetry collector; imported when there is one."""

import contextlib
import itertools
import threading
from asyncio import CancelledError
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from importlib.metadata import version

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from certisolve_server.errors import InvalidRequest, NotFound, ServingError
from certisolve_server.jobs import ModelKey

from .tracing import Tracing

_TRACES_PATH = "/v1/traces"
_EXPORT_TIMEOUT_S = 3.0
_CLOSE_TIMEOUT_S = 5.0
#: Mates a span links to; its attribute `certisolve.batch_size` counts them all.
_MAX_LINKS = 16

_propagator = TraceContextTextMapPropagator()


class OtlpTracing(Tracing):
    """Spans over HTTP as protobuf, in batches, from a thread of their own.

    Arguments:
        endpoint: base URL of the collector, or the full one that ends with `/v1/traces`.
        service_name: gateway or worker.
        instance: which one of them.
    """

    def __init__(self, endpoint: str, service_name: str, instance: str) -> None:
        resource = {
            "service.name": service_name,
            "service.instance.id": instance,
            "service.version": version("certisolve-server"),
        }
        exporter = OTLPSpanExporter(_traces_url(endpoint), timeout=_EXPORT_TIMEOUT_S)
        self._provider = TracerProvider(resource=Resource.create(resource), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("certisolve")

    def solve(self, model: str, traceparent: str) -> AbstractContextManager[str]:
        return self._solve(model, traceparent)

    @contextlib.contextmanager
    def _solve(self, model: str, traceparent: str) -> Iterator[str]:
        span = self._tracer.start_span(
            f"solve {model}",
            _context(traceparent),
            SpanKind.SERVER,
            attributes={"certisolve.model": model},
        )
        try:
            yield _traceparent(span)
        except BaseException as error:
            _mark(span, error)
            raise
        finally:
            span.end()

    def batch(
        self,
        key: ModelKey,
        traceparents: Sequence[str],
        started_at: float,
        ended_at: float,
        batch_size: int,
        *,
        queue_ms: Sequence[float] = (),
        compute_ms: float | None = None,
    ) -> None:
        attributes: dict[str, str | int | float] = {
            "certisolve.model": key.name,
            "certisolve.version": key.version,
            "certisolve.batch_size": batch_size,
        }
        if compute_ms is not None:
            attributes["certisolve.compute_ms"] = compute_ms
        contexts = [_context(traceparent) for traceparent in traceparents]
        solves = [trace.get_current_span(context).get_span_context() for context in contexts]
        mates = [solve for solve in solves if solve.is_valid][: _MAX_LINKS + 1]
        for context, solve, waited_ms in itertools.zip_longest(contexts, solves, queue_ms):
            if solve is None or not solve.is_valid:
                continue
            waited = {} if waited_ms is None else {"certisolve.queue_ms": waited_ms}
            span = self._tracer.start_span(
                f"batch {key.name}",
                context,
                SpanKind.CONSUMER,
                attributes=attributes | waited,
                links=_links(solve, mates),
                start_time=_nanoseconds(started_at),
            )
            span.end(_nanoseconds(ended_at))

    def close(self) -> None:
        # The provider would wait half a minute for a collector that does not answer.
        closing = threading.Thread(target=self._provider.shutdown, name="tracing", daemon=True)
        closing.start()
        closing.join(_CLOSE_TIMEOUT_S)


def _traces_url(endpoint: str) -> str:
    base = endpoint.rstrip("/")
    return base if base.endswith(_TRACES_PATH) else base + _TRACES_PATH


def _context(traceparent: str) -> Context:
    # From an empty context: another library's current span is not the caller's.
    return _propagator.extract({"traceparent": traceparent}, Context())


def _traceparent(span: Span) -> str:
    carrier: dict[str, str] = {}
    _propagator.inject(carrier, trace.set_span_in_context(span, Context()))
    return carrier.get("traceparent", "")


def _mark(span: Span, error: BaseException) -> None:
    """Say on the span how the solve failed, in the words of the API."""
    if isinstance(error, CancelledError):
        span.set_attribute("error.type", "cancelled")
    elif isinstance(error, ServingError):
        span.set_attribute("error.type", error.code.value)
        # A caller's mistake is no failure of the server.
        if not isinstance(error, InvalidRequest | NotFound):
            span.set_status(StatusCode.ERROR, error.detail)
    else:
        span.set_attribute("error.type", type(error).__qualname__)
        span.set_status(StatusCode.ERROR, str(error))


def _links(solve: SpanContext, mates: Sequence[SpanContext]) -> list[Link]:
    return [Link(mate) for mate in mates if mate.span_id != solve.span_id][:_MAX_LINKS]


def _nanoseconds(unix_seconds: float) -> int:
    return int(unix_seconds * 1e9)

"""Spans as a collector receives them: real HTTP, real OTLP protobuf."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from certisolve_server.errors import InternalError, ServingError, UnknownModel
from certisolve_server.jobs import ModelKey
from certisolve_server.telemetry import Tracing, TracingUnavailable

KEY = ModelKey("double", "1")
CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Collector:
    """Receives spans over OTLP/HTTP."""

    def __init__(self) -> None:
        self.requests: list[ExportTraceServiceRequest] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self.requests))
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    @property
    def spans(self) -> list[Span]:
        return [
            span
            for request in self.requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    @property
    def resource(self) -> dict[str, Any]:
        return attributes(self.requests[0].resource_spans[0].resource)

    @contextmanager
    def listening(self) -> Iterator["Collector"]:
        thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()


def _handler(requests: list[ExportTraceServiceRequest]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/traces"
            assert self.headers["Content-Type"] == "application/x-protobuf"
            body = self.rfile.read(int(self.headers["Content-Length"]))
            requests.append(ExportTraceServiceRequest.FromString(body))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    return Handler


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector().listening() as listening:
        yield listening


def attributes(holder: Any) -> dict[str, Any]:
    return {
        item.key: getattr(item.value, item.value.WhichOneof("value")) for item in holder.attributes
    }


def ids(traceparent: str) -> tuple[bytes, bytes]:
    """Trace and span."""
    _, trace_id, span_id, _ = traceparent.split("-")
    return bytes.fromhex(trace_id), bytes.fromhex(span_id)


def test_a_solve_is_one_trace_from_the_caller_to_the_worker(collector: Collector) -> None:
    gateway = Tracing.open(collector.url, "certisolve-gateway", "gateway-1")
    worker = Tracing.open(collector.url, "certisolve-worker", "worker-1")
    with gateway.solve("double", CALLER) as traceparent:
        pass
    worker.batch(KEY, [traceparent], 10.0, 10.5, 1, queue_ms=[3.0], compute_ms=2.0)
    gateway.close()
    worker.close()

    solve, batch = sorted(collector.spans, key=lambda span: span.kind)
    caller_trace, caller_span = ids(CALLER)
    assert solve.kind == Span.SPAN_KIND_SERVER
    assert solve.name == "solve double"
    assert (solve.trace_id, solve.parent_span_id) == (caller_trace, caller_span)
    assert (solve.trace_id, solve.span_id) == ids(traceparent)
    assert batch.kind == Span.SPAN_KIND_CONSUMER
    assert (batch.trace_id, batch.parent_span_id) == ids(traceparent)
    assert (batch.start_time_unix_nano, batch.end_time_unix_nano) == (10 * 10**9, 105 * 10**8)
    assert attributes(batch) == {
        "certisolve.model": "double",
        "certisolve.version": "1",
        "certisolve.batch_size": 1,
        "certisolve.queue_ms": 3.0,
        "certisolve.compute_ms": 2.0,
    }


def test_a_solve_without_a_caller_starts_a_trace(collector: Collector) -> None:
    tracing = Tracing.open(collector.url, "certisolve-gateway", "gateway-1")
    with tracing.solve("double", "") as first, tracing.solve("double", "nonsense") as second:
        pass
    tracing.close()
    assert ids(first)[0] != ids(second)[0]
    assert [span.parent_span_id for span in collector.spans] == [b"", b""]


def test_batch_mates_are_linked_and_untraced_ones_have_no_span(collector: Collector) -> None:
    tracing = Tracing.open(collector.url, "certisolve-worker", "worker-1")
    mates = [f"00-{trace:032x}-{span:016x}-01" for trace, span in ((1, 11), (2, 12))]
    tracing.batch(KEY, [mates[0], "", mates[1]], 1.0, 2.0, 3)
    tracing.close()
    linked = {
        span.trace_id: [(link.trace_id, link.span_id) for link in span.links]
        for span in collector.spans
    }
    assert linked == {ids(mates[0])[0]: [ids(mates[1])], ids(mates[1])[0]: [ids(mates[0])]}
    assert {attributes(span)["certisolve.batch_size"] for span in collector.spans} == {3}


def test_links_of_a_large_batch_are_bounded(collector: Collector) -> None:
    tracing = Tracing.open(collector.url, "certisolve-worker", "worker-1")
    traceparents = [f"00-{n:032x}-{n:016x}-01" for n in range(1, 257)]
    tracing.batch(KEY, traceparents, 1.0, 2.0, 256)
    tracing.close()
    assert len(collector.spans) == 256
    assert {len(span.links) for span in collector.spans} == {16}


def test_a_caller_that_does_not_sample_is_not_traced(collector: Collector) -> None:
    tracing = Tracing.open(collector.url, "certisolve-gateway", "gateway-1")
    with tracing.solve("double", CALLER[:-2] + "00") as traceparent:
        pass
    tracing.batch(KEY, [traceparent], 1.0, 2.0, 1)
    tracing.close()
    assert ids(traceparent)[0] == ids(CALLER)[0]
    assert traceparent.endswith("-00")
    assert not collector.spans


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InternalError("the model failed"), Status.STATUS_CODE_ERROR),
        (UnknownModel("no such model"), Status.STATUS_CODE_UNSET),
    ],
)
def test_a_failed_solve_carries_the_code_and_is_an_error_only_if_ours(
    collector: Collector, error: ServingError, status: int
) -> None:
    tracing = Tracing.open(collector.url, "certisolve-gateway", "gateway-1")
    with pytest.raises(type(error)), tracing.solve("double", ""):
        raise error
    tracing.close()
    [span] = collector.spans
    assert attributes(span)["error.type"] == error.code
    assert span.status.code == status


def test_spans_say_which_process_they_are_from(collector: Collector) -> None:
    tracing = Tracing.open(f"{collector.url}/v1/traces", "certisolve-worker", "worker-2")
    with tracing.solve("double", ""):
        pass
    tracing.close()
    assert collector.resource["service.name"] == "certisolve-worker"
    assert collector.resource["service.instance.id"] == "worker-2"


def test_a_collector_out_of_reach_delays_closing_by_seconds_only() -> None:
    tracing = Tracing.open("http://127.0.0.1:9", "certisolve-gateway", "gateway-1")
    with tracing.solve("double", ""):
        pass
    started_at = time.monotonic()
    tracing.close()
    assert time.monotonic() - started_at < 8.0


def test_disabled_tracing_passes_the_callers_context_through() -> None:
    tracing = Tracing.disabled()
    with tracing.solve("double", CALLER) as traceparent:
        assert traceparent == CALLER
    tracing.batch(KEY, [CALLER], 1.0, 2.0, 1)
    tracing.close()


def test_without_an_endpoint_no_exporter_is_imported() -> None:
    program = (
        "import sys; from certisolve_server.telemetry import Tracing;"
        "Tracing.open('', 'certisolve-gateway', 'g');"
        "sys.exit('opentelemetry.sdk' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_an_endpoint_that_is_no_url_is_refused() -> None:
    with pytest.raises(TracingUnavailable, match="http://HOST:4318"):
        Tracing.open("localhost:4317", "certisolve-gateway", "gateway-1")

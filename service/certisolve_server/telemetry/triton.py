"""The metrics of Triton dashboards, under the names and labels that they query.

They are written as text here: prometheus_client adds `_total` to the name of every counter.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple


class TritonTotals:
    """Totals of one version of one model since the start; times are in microseconds.

    Every request of a batch is charged the whole time of the batch, as in Triton.
    """

    __slots__ = ("compute_us", "executions", "failures", "input_us", "queue_us", "requests")

    def __init__(self) -> None:
        self.requests = self.failures = self.executions = 0
        self.queue_us = self.input_us = self.compute_us = 0.0

    def add(self, num_requests: int, queue_ms: float, batch_ms: float, compute_ms: float) -> None:
        """Add a forward pass.

        Args:
            num_requests: in the batch.
            queue_ms: sum over them.
            batch_ms: of the batch.
            compute_ms: of the batch.
        """
        self.executions += 1
        self.requests += num_requests
        self.queue_us += 1e3 * queue_ms
        self.input_us += 1e3 * batch_ms * num_requests
        self.compute_us += 1e3 * compute_ms * num_requests

    def add_steps(
        self, num_steps: int, num_requests: int, queue_ms: float, compute_ms: float, num_ended: int
    ) -> None:
        """Add steps of requests that may go on afterwards.

        Args:
            num_steps: each of them one forward pass.
            num_requests: in the steps.
            queue_ms: sum over those whose first steps these are.
            compute_ms: of all steps.
            num_ended: requests whose last steps these are.
        """
        self.executions += num_steps
        self.requests += num_ended
        self.queue_us += 1e3 * queue_ms
        self.compute_us += 1e3 * compute_ms * num_requests


class _Counter(NamedTuple):
    name: str
    help: str
    read: Callable[[TritonTotals], float]


_COUNTERS = (
    _Counter(
        "nv_inference_request_success",
        "Requests that this worker computed an answer for",
        lambda totals: totals.requests,
    ),
    _Counter(
        "nv_inference_request_failure",
        "Requests whose forward pass failed on this worker; those refused before are not here",
        lambda totals: totals.failures,
    ),
    _Counter(
        "nv_inference_count",
        "Inferences performed, one per request; rows that pad a batch are not counted",
        lambda totals: totals.requests,
    ),
    _Counter(
        "nv_inference_exec_count",
        "Forward passes; of models that advance in time, several for each inference",
        lambda totals: totals.executions,
    ),
    _Counter(
        "nv_inference_request_duration_us",
        "Queue, compute input and compute infer together; reading and writing bodies is not in it",
        lambda totals: totals.queue_us + totals.input_us + totals.compute_us,
    ),
    _Counter(
        "nv_inference_queue_duration_us",
        "From submission of a request to the start of its batch, summed over requests",
        lambda totals: totals.queue_us,
    ),
    _Counter(
        "nv_inference_compute_input_duration_us",
        "Assembling the batch, summed over the requests in it",
        lambda totals: totals.input_us,
    ),
    _Counter(
        "nv_inference_compute_infer_duration_us",
        "The forward pass and fetching its outputs, summed over the requests in it",
        lambda totals: totals.compute_us,
    ),
    _Counter(
        "nv_inference_compute_output_duration_us",
        "Always 0: fetching outputs is counted in compute infer",
        lambda totals: 0,
    ),
)
_PENDING = "nv_inference_pending_request_count"
_PENDING_HELP = (
    "Requests waiting or running in the whole queue, all models together; "
    "every process on the queue shows the same number, so take max, not sum"
)


def render_triton(totals: Mapping[tuple[str, str], TritonTotals], num_pending: int | None) -> bytes:
    """The Prometheus text format of all series.

    Args:
        totals: by model and version.
        num_pending: requests waiting or running; None where that is unknown.
    """
    return "".join(_lines(totals, num_pending)).encode()


def _lines(
    totals: Mapping[tuple[str, str], TritonTotals], num_pending: int | None
) -> Iterator[str]:
    for counter in _COUNTERS:
        yield f"# HELP {counter.name} {counter.help}\n# TYPE {counter.name} counter\n"
        for (model, version), of_model in totals.items():
            labels = f'model="{_escaped(model)}",version="{_escaped(version)}"'
            yield f"{counter.name}{{{labels}}} {counter.read(of_model):.17g}\n"
    if num_pending is not None:
        yield f"# HELP {_PENDING} {_PENDING_HELP}\n# TYPE {_PENDING} gauge\n"
        yield f"{_PENDING} {num_pending}\n"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")

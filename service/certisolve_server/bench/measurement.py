"""What a run of requests came to; pure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from .door import Answer

OK = "ok"


@dataclass(slots=True)
class Measurement:
    """Everything that was observed, request by request.

    Attributes:
        latencies_s: of the requests that were answered well, from the moment each was due.
        codes: how often each outcome occurred; `ok` among them.
        num_batches: sum of 1/batch size, which is the number of forward passes when nobody else
            uses the server.
        duration_s: from the first request to the last answer.
    """

    latencies_s: list[float] = field(default_factory=list)
    codes: Counter[str] = field(default_factory=Counter)
    num_batches: float = 0.0
    duration_s: float = 0.0

    def add(self, answer: Answer, latency_s: float) -> None:
        """Count one answer."""
        self.codes[answer.code] += 1
        if answer.code == OK:
            self.latencies_s.append(latency_s)
            self.num_batches += 1 / answer.batch_size


@dataclass(frozen=True, slots=True)
class Summary:
    """A measurement in a few numbers; NaN where nothing was answered.

    Attributes:
        throughput: good answers per second.
        mean_batch_size: requests per forward pass.
    """

    num_requests: int
    num_ok: int
    errors: Mapping[str, int]
    duration_s: float
    throughput: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    max_ms: float
    mean_batch_size: float


def summarise(measurement: Measurement) -> Summary:
    """Counts, rates and percentiles of a measurement."""
    num_ok = measurement.codes[OK]
    p50, p90, p99, longest = percentiles_ms(measurement.latencies_s, (50, 90, 99, 100))
    return Summary(
        num_requests=measurement.codes.total(),
        num_ok=num_ok,
        errors={code: n for code, n in measurement.codes.most_common() if code != OK},
        duration_s=measurement.duration_s,
        throughput=num_ok / measurement.duration_s if measurement.duration_s else 0.0,
        p50_ms=p50,
        p90_ms=p90,
        p99_ms=p99,
        max_ms=longest,
        mean_batch_size=num_ok / measurement.num_batches if num_ok else float("nan"),
    )


def percentiles_ms(latencies_s: Sequence[float], wanted: tuple[float, ...]) -> list[float]:
    """Percentiles in milliseconds.

    Each is a latency that was observed, the smallest that `wanted` % of the requests did not
    exceed: interpolation would invent a p99 between a good answer and a bad one.
    """
    if not latencies_s:
        return [float("nan")] * len(wanted)
    values = np.percentile(np.asarray(latencies_s), wanted, method="inverted_cdf")
    return [1e3 * float(value) for value in values]

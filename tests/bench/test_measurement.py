import math

import pytest

from certisolve_server.bench import Answer, Measurement, percentiles_ms, summarise


def test_percentiles_are_latencies_that_were_observed():
    latencies = [index / 1000 for index in range(1, 101)]
    assert percentiles_ms(latencies, (50, 90, 99, 100)) == pytest.approx([50, 90, 99, 100])
    assert percentiles_ms([0.001, 1.0], (50, 99)) == pytest.approx([1, 1000])


def test_order_does_not_matter():
    assert percentiles_ms([0.003, 0.001, 0.002], (50, 100)) == pytest.approx([2, 3])


def test_nothing_observed_is_nan():
    assert all(math.isnan(value) for value in percentiles_ms([], (50, 99)))


def test_the_mean_batch_size_counts_forward_passes_not_requests():
    measurement = Measurement(duration_s=1.0)
    # One batch of three and one of one: two forward passes for four requests.
    for batch_size in (3, 3, 3, 1):
        measurement.add(Answer("ok", batch_size), 0.01)
    assert summarise(measurement).mean_batch_size == pytest.approx(2.0)


def test_errors_are_counted_by_code_and_not_timed():
    measurement = Measurement(duration_s=2.0)
    for code in ("queue_full", "queue_full", "connection_failed"):
        measurement.add(Answer(code), 99.0)
    measurement.add(Answer("ok", 1), 0.004)
    summary = summarise(measurement)
    assert summary.errors == {"queue_full": 2, "connection_failed": 1}
    assert summary.num_requests == 4
    assert summary.throughput == pytest.approx(0.5)
    assert summary.max_ms == pytest.approx(4.0)


def test_a_run_without_answers_has_no_throughput():
    summary = summarise(Measurement())
    assert summary.throughput == 0
    assert math.isnan(summary.p50_ms)
    assert math.isnan(summary.mean_batch_size)

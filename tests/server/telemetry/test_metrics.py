"""What a scrape shows, read with prometheus_client's own parser."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import pytest
from prometheus_client.parser import text_string_to_metric_families

from certisolve_server.jobs import ModelKey
from certisolve_server.telemetry import Metrics

KEY = ModelKey("double", "1", "digest")
TRITON_NAMES = {
    "nv_inference_request_success": "counter",
    "nv_inference_request_failure": "counter",
    "nv_inference_count": "counter",
    "nv_inference_exec_count": "counter",
    "nv_inference_request_duration_us": "counter",
    "nv_inference_queue_duration_us": "counter",
    "nv_inference_compute_input_duration_us": "counter",
    "nv_inference_compute_infer_duration_us": "counter",
    "nv_inference_compute_output_duration_us": "counter",
    "nv_inference_pending_request_count": "gauge",
}


@dataclass(frozen=True)
class Batch:
    batch_size: int = 3
    padded_size: int = 4
    batch_ms: float = 0.5
    compute_ms: float = 2.0


@dataclass(frozen=True)
class Depth:
    num_jobs: int = 7
    num_bytes: int = 4096
    expected_s: float = 1.5


def value(metrics: Metrics, name: str, labels: Mapping[str, str] | None = None) -> float | None:
    """Of the one sample with that name and labels; None if there is none."""
    text = metrics.render(Depth()).decode()
    # This parser, unlike the server, names every sample of a counter so.
    if TRITON_NAMES.get(name) == "counter":
        name += "_total"
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == name and sample.labels == (labels or {}):
                return float(sample.value)
    return None


def test_a_batch_is_counted_by_size_padding_and_times() -> None:
    metrics = Metrics()
    metrics.batch_done(KEY, Batch(), queue_ms=[10.0, 20.0, 30.0])
    of_model = {"model": "double"}
    assert value(metrics, "certisolve_batch_size_sum", of_model) == 3
    assert value(metrics, "certisolve_batch_size_count", of_model) == 1
    assert value(metrics, "certisolve_padding_rows_total", of_model) == 1
    assert value(metrics, "certisolve_queue_seconds_count", of_model) == 3
    assert value(metrics, "certisolve_queue_seconds_sum", of_model) == pytest.approx(0.06)
    assert value(metrics, "certisolve_batch_seconds_sum", of_model) == pytest.approx(0.0005)
    assert value(metrics, "certisolve_compute_seconds_sum", of_model) == pytest.approx(0.002)


def test_a_batch_without_padding_counts_none() -> None:
    metrics = Metrics()
    metrics.batch_done(KEY, Batch(padded_size=3), queue_ms=[1.0] * 3)
    assert value(metrics, "certisolve_padding_rows_total", {"model": "double"}) == 0


def test_triton_totals_charge_every_request_with_its_batch() -> None:
    metrics = Metrics()
    metrics.batch_done(KEY, Batch(), queue_ms=[10.0, 20.0, 30.0])
    metrics.batch_done(KEY, Batch(batch_size=1, padded_size=1), queue_ms=[0.0])
    metrics.batch_failed(KEY, 2)
    expected = {
        "request_success": 4,
        "request_failure": 2,
        "count": 4,
        "exec_count": 2,
        "queue_duration_us": 60_000,
        "compute_input_duration_us": 4 * 500,
        "compute_infer_duration_us": 4 * 2_000,
        "compute_output_duration_us": 0,
        "request_duration_us": 60_000 + 4 * 2_500,
    }
    labels = {"model": "double", "version": "1"}
    shown = {name: value(metrics, f"nv_inference_{name}", labels) for name in expected}
    assert shown == pytest.approx(expected)


class Steps(NamedTuple):
    num_steps: int = 5
    padded_size: int = 4
    compute_ms: float = 10.0


def test_steps_are_passes_of_those_who_share_them() -> None:
    metrics = Metrics()
    metrics.steps_done(KEY, 3, Steps(), queue_ms=[10.0, 20.0], num_ended=1)
    of_model = {"model": "double"}
    assert value(metrics, "certisolve_batch_size_count", of_model) == 5
    assert value(metrics, "certisolve_batch_size_sum", of_model) == 15
    assert value(metrics, "certisolve_padding_rows_total", of_model) == 5
    assert value(metrics, "certisolve_queue_seconds_count", of_model) == 2
    assert value(metrics, "certisolve_compute_seconds_sum", of_model) == pytest.approx(0.01)
    of_version = {**of_model, "version": "1"}
    assert value(metrics, "nv_inference_request_success", of_version) == 1
    assert value(metrics, "nv_inference_exec_count", of_version) == 5
    assert value(metrics, "nv_inference_compute_infer_duration_us", of_version) == 30_000


def test_triton_names_have_no_suffix_and_keep_their_types() -> None:
    metrics = Metrics()
    metrics.batch_done(KEY, Batch(), queue_ms=[1.0] * 3)
    lines = metrics.render(Depth()).decode().splitlines()
    for name, kind in TRITON_NAMES.items():
        assert f"# TYPE {name} {kind}" in lines
        assert any(line.startswith(f"# HELP {name} ") for line in lines)
        assert any(line.startswith((f"{name}{{", f"{name} ")) for line in lines)


def test_programs_of_one_version_share_their_series() -> None:
    metrics = Metrics()
    for digest in ("old", "new"):
        metrics.batch_done(ModelKey("double", "1", digest), Batch(), queue_ms=[1.0] * 3)
    assert value(metrics, "nv_inference_exec_count", {"model": "double", "version": "1"}) == 2


def test_versions_of_one_model_share_a_histogram_and_have_their_own_totals() -> None:
    metrics = Metrics()
    for version in ("1", "2"):
        metrics.batch_done(ModelKey("double", version), Batch(), queue_ms=[1.0] * 3)
    assert value(metrics, "certisolve_batch_size_count", {"model": "double"}) == 2
    assert value(metrics, "nv_inference_exec_count", {"model": "double", "version": "2"}) == 1


def test_what_happens_to_deliveries_is_counted() -> None:
    metrics = Metrics()
    metrics.leases_renewed(5)
    metrics.redelivered(4)
    metrics.dead_lettered(3)
    metrics.fenced(2)
    metrics.deadline_missed("device")
    assert value(metrics, "certisolve_lease_renewals_total") == 5
    assert value(metrics, "certisolve_redeliveries_total") == 4
    assert value(metrics, "certisolve_dead_letters_total") == 3
    assert value(metrics, "certisolve_fenced_answers_total") == 2
    assert value(metrics, "certisolve_deadlines_missed_total", {"stage": "device"}) == 1


def test_answers_are_counted_by_model_and_code() -> None:
    metrics = Metrics()
    metrics.request_done("double", "ok")
    metrics.request_done("double", "ok")
    metrics.request_done("double", "queue_full")
    ok, full = ({"model": "double", "code": code} for code in ("ok", "queue_full"))
    assert value(metrics, "certisolve_requests_total", ok) == 2
    assert value(metrics, "certisolve_requests_total", full) == 1


def test_the_depth_is_shown_as_of_now() -> None:
    metrics = Metrics()
    assert value(metrics, "certisolve_queue_depth") == 7
    assert value(metrics, "certisolve_queue_bytes") == 4096
    assert value(metrics, "certisolve_queue_expected_seconds") == 1.5
    assert value(metrics, "nv_inference_pending_request_count") == 7


def test_an_unknown_depth_is_left_out_rather_than_shown_as_it_was() -> None:
    metrics = Metrics()
    metrics.render(Depth())
    text = metrics.render(None).decode()
    assert "certisolve_queue_depth" not in text
    assert "nv_inference_pending" not in text


def test_strange_model_names_survive_the_text_format() -> None:
    metrics = Metrics()
    name = 'a"b\\c\nd'
    metrics.batch_done(ModelKey(name, "1"), Batch(), queue_ms=[1.0] * 3)
    labels = {"model": name, "version": "1"}
    assert value(metrics, "nv_inference_exec_count", labels) == 1


def test_no_name_is_declared_twice() -> None:
    text = Metrics().render(Depth()).decode()
    declared = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]
    assert len(declared) == len(set(declared))

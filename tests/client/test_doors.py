"""The promises of the client, kept over every transport, with and without await."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from certisolve import (
    Cancelled,
    ConnectionFailed,
    DeadlineExceeded,
    IdempotencyConflict,
    InternalServerError,
    InvalidRequest,
    JobStatus,
    NotFound,
    Overloaded,
    PayloadTooLarge,
    RequestTimeout,
    RetryPolicy,
    Unavailable,
)

from .servers import DIGEST, STATUS, Refused, unused_port

U0 = np.array([1.0, 2.0, 3.0, 4.0], np.float32)

CLASSES = {
    "unknown_model": NotFound,
    "unknown_version": NotFound,
    "unknown_job": NotFound,
    "not_found": NotFound,
    "idempotency_conflict": IdempotencyConflict,
    "body_too_large": PayloadTooLarge,
    "queue_full": Overloaded,
    "queue_unavailable": Unavailable,
    "model_not_ready": Unavailable,
    "shutting_down": Unavailable,
    "unavailable": Unavailable,
    "deadline_exceeded": DeadlineExceeded,
    "cancelled": Cancelled,
    "dead_lettered": InternalServerError,
    "internal": InternalServerError,
}


def test_a_solution_carries_fields_coordinates_and_how_far_to_trust_them(client):
    solution = client.solve("double", {"u0": U0})
    np.testing.assert_array_equal(solution.fields["u"], 2 * U0)
    np.testing.assert_array_equal(solution.coords["x"], [0, 0.25, 0.5, 0.75])
    assert solution.axes == {"u": ("x",)}
    assert solution.t.tolist() == [1.0]
    assert solution.status == "ok"
    assert solution.diagnostics.in_validated_range
    assert solution.diagnostics.expected_error == 0.01
    assert solution.diagnostics.resampled_from is None
    assert solution.timings_ms == (1.0, 2.0, 3.0)
    assert solution.batch_size == 5
    assert solution.model == ("double", "2", DIGEST)


def test_what_the_caller_asks_for_reaches_the_server(client, backend):
    client.solve(
        "double",
        {"u0": U0},
        parameters={"nu": 0.5},
        t=[0.5, 1.0],
        version="1",
        diagnostics=False,
        timeout=7.0,
    )
    (request,) = backend.requests
    np.testing.assert_array_equal(request.tensors["u0"], U0)
    assert request.tensors["u0"].dtype == np.float32
    assert request.parameters == {"nu": 0.5}
    assert request.t == [0.5, 1.0]
    assert request.version == "1"
    assert not request.diagnostics
    # gRPC sends its deadlines rounded up.
    assert 6.0 < request.deadline_s < 7.1


def test_how_many_steps_and_frames_are_wanted_reaches_the_server(client, backend):
    client.solve("double", {"u0": U0}, steps=np.int64(9), save_every=2, resume_from=4)
    client.submit_solve("double", {"u0": U0}, steps=3)
    client.solve("double", {"u0": U0})
    asked = [(each.steps, each.save_every, each.resume_from) for each in backend.requests]
    assert asked == [(9, 2, 4), (3, None, None), (None, None, None)]


@pytest.mark.parametrize(
    ("counted", "error"),
    [
        ({"steps": 0}, ValueError),
        ({"steps": 1 << 63}, ValueError),
        ({"steps": 1.5}, TypeError),
        ({"save_every": 0}, ValueError),
        ({"save_every": "2"}, TypeError),
        ({"resume_from": -1}, ValueError),
    ],
    ids=str,
)
def test_what_counts_no_steps_is_refused_by_name(client, backend, counted, error):
    with pytest.raises(error, match=f"{next(iter(counted))}: must be"):
        client.solve("double", {"u0": U0}, **counted)
    assert not backend.requests


def test_absent_diagnostics_are_none(client):
    assert client.solve("double", {"u0": U0}, diagnostics=False).diagnostics is None


def test_a_resampled_grid_is_reported(client):
    diagnostics = client.solve("double", {"u0": np.ones(6, np.float32)}).diagnostics
    assert diagnostics.resampled_from == {"x": 6}
    assert diagnostics.expected_error is None


def test_fields_are_read_only(client):
    with pytest.raises(ValueError, match="read-only"):
        client.solve("double", {"u0": U0}).fields["u"][0] = 0


def test_fields_larger_than_the_libraries_default_limits_arrive(client):
    u0 = np.ones(3 << 20, np.float32)
    assert client.solve("double", {"u0": u0}).fields["u"].sum() == 2 * u0.size


def test_empty_and_strided_arrays_arrive(client):
    assert client.solve("double", {"u0": U0[:0]}).fields["u"].shape == (0,)
    np.testing.assert_array_equal(client.solve("double", {"u0": U0[::-2]}).fields["u"], [8, 4])


def test_many_calls_at_once_each_get_their_own_answer(client):
    def solve(value):
        return client.solve("double", {"u0": [value]}).fields["u"][0]

    with ThreadPoolExecutor(24) as threads:
        assert list(threads.map(solve, range(200))) == [2 * value for value in range(200)]


def test_models_describe_themselves(client):
    (listed,) = client.models()
    assert listed == client.model("double") == client.model("double", version="2")
    assert (listed.name, listed.version, listed.digest) == ("double", "2", DIGEST)
    assert listed.ready
    assert listed.workers == (("w1", "cuda:0", "10.0.0.1:9001"),)
    assert listed.manifest.resolutions[0].error == 0.01


def test_unknown_models_and_versions_are_not_found(client):
    with pytest.raises(NotFound, match="unknown_model"):
        client.model("nowhere")
    with pytest.raises(NotFound, match="unknown_version"):
        client.model("double", "3")


@pytest.mark.parametrize("code", STATUS)
def test_every_code_becomes_its_exception(door, url, backend, code):
    with (
        door.open(url, retry=RetryPolicy(max_attempts=1)) as client,
        pytest.raises(CLASSES.get(code, InvalidRequest)) as caught,
    ):
        client.solve(f"problem-{code}", {"u0": U0})
    assert caught.value.code == code
    assert caught.value.field == "inputs.u0"
    assert caught.value.detail == f"because of {code}"
    assert caught.value.retry_after_s is None


def test_overload_is_waited_out_for_as_long_as_the_server_asks(client, backend, clock):
    backend.refusals = [Refused("queue_full", retry_after_s=2.0), Refused("shutting_down")]
    client.solve("double", {"u0": U0})
    first, second = clock.naps
    assert 2.0 < first < 2.2
    assert second < 0.3


def test_overload_that_lasts_is_reported(client, backend, clock):
    backend.refusals = [Refused("queue_full", retry_after_s=1.0)] * 9
    with pytest.raises(Overloaded) as caught:
        client.solve("double", {"u0": U0})
    assert caught.value.retry_after_s == 1.0
    assert len(backend.requests) == RetryPolicy().max_attempts
    assert len(clock.naps) == RetryPolicy().max_attempts - 1


def test_a_refused_submission_is_repeated(client, backend):
    backend.refusals = [Refused("queue_full")]
    client.submit_solve("double", {"u0": U0})
    assert len(backend.requests) == 2
    assert len(backend.jobs) == 1


def test_an_answer_that_does_not_come_times_out(client, backend):
    with pytest.raises(RequestTimeout):
        client.solve("stuck", {"u0": U0}, timeout=0.1)
    assert len(backend.requests) == 1


def test_a_refused_connection_is_tried_again_then_reported(door, clock):
    with (
        door.open(f"{door.scheme}://127.0.0.1:{unused_port()}", clock=clock) as client,
        pytest.raises(ConnectionFailed) as caught,
    ):
        client.submit_solve("double", {"u0": U0})
    assert not caught.value.sent
    assert len(clock.naps) == RetryPolicy().max_attempts - 1


def test_waiting_for_a_job_gives_its_solution(client, backend):
    job = client.submit_solve("double", {"u0": U0}, parameters={"nu": 0.5})
    assert job.status() is JobStatus.QUEUED
    threading.Timer(0.02, backend.jobs[job.id].end, ["succeeded"]).start()
    solution = job.wait()
    np.testing.assert_array_equal(solution.fields["u"], 2 * U0)
    assert solution.diagnostics.expected_error == 0.01
    assert job.status() == "succeeded"


def test_a_job_has_no_deadline_of_the_submission(client, backend):
    client.submit_solve("double", {"u0": U0}, timeout=1.0)
    assert backend.requests[0].deadline_s is None


def test_another_process_can_take_up_a_job(client, backend):
    job_id = client.submit_solve("double", {"u0": U0}).id
    backend.jobs[job_id].end("succeeded")
    np.testing.assert_array_equal(client.job(job_id).wait(0).fields["u"], 2 * U0)


def test_a_failed_job_raises_its_problem(client, backend):
    job = client.submit_solve("double", {"u0": U0})
    backend.jobs[job.id].end("failed")
    with pytest.raises(InternalServerError, match="because of internal"):
        job.wait()


def test_a_cancelled_job_raises(client):
    job = client.submit_solve("double", {"u0": U0})
    assert job.cancel() is JobStatus.CANCELLED
    with pytest.raises(Cancelled):
        job.wait()


def test_cancelling_an_ended_job_changes_nothing(client, backend):
    job = client.submit_solve("double", {"u0": U0})
    backend.jobs[job.id].end("succeeded")
    assert job.cancel() is JobStatus.SUCCEEDED


def test_a_job_that_takes_longer_than_the_caller_waits_goes_on(door, url, backend):
    with door.open(url) as client:
        job = client.submit_solve("double", {"u0": U0})
        with pytest.raises(RequestTimeout, match="still queued"):
            job.wait(timeout=0.05)
        backend.jobs[job.id].end("succeeded")
        assert job.wait(timeout=0).status == "ok"


def test_an_unknown_job_is_not_found(client):
    with pytest.raises(NotFound, match="unknown_job"):
        client.job("nowhere").wait()


def test_a_closed_client_says_so(door, url):
    with door.open(url) as client:
        close = client.aclose if door.asynchronous else client.close
        client.models()
        close()
        with pytest.raises(RuntimeError, match="closed"):
            client.models()

"""A stream outlives the gateway that it came through."""

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from certisolve import Client, RetryPolicy
from fleet import Fleet, poll_until, run_fleet

ZEROS = np.zeros(16, np.float32)
NUM_STEPS = 1500
#: Long enough for a gateway to come back, for whoever goes on asking.
_PATIENT = RetryPolicy(max_attempts=200, base_delay_s=0.1, max_delay_s=0.2)


@pytest.fixture(scope="module")
def fleet(counting_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    directory = tmp_path_factory.mktemp("streams") / "fleet"
    with run_fleet(counting_models, directory) as fleet:
        yield fleet


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_a_stream_goes_on_through_the_gateway_that_comes_back(fleet: Fleet, scheme: str) -> None:
    url = fleet.gateway.http if scheme == "http" else fleet.gateway.grpc
    with (
        Client(url, retry=_PATIENT) as client,
        client.stream("count", {"u": ZEROS}, steps=NUM_STEPS) as frames,
    ):
        told = [next(frames) for _ in range(5)]
        fleet.gateway.kill()
        back = threading.Thread(target=fleet.gateway.start)
        back.start()
        told += frames
        back.join()
        solution = frames.solution(told)
    assert [frame.step for frame in told] == list(range(1, NUM_STEPS + 1))
    np.testing.assert_array_equal(solution.fields["u"][:, 0], np.arange(1, NUM_STEPS + 1))
    assert solution.t.tolist() == [float(step) for step in range(1, NUM_STEPS + 1)]
    assert solution.status == "ok"


def test_a_job_says_how_far_it_is(fleet: Fleet) -> None:
    with Client(fleet.gateway.http) as client:
        job = client.submit_solve("count", {"u": ZEROS}, steps=4000, save_every=1000)
        with contextlib.closing(job.events()) as events:
            told = next(info.progress for info in events if info.progress > 0)
        assert 0 < told < 1
        assert client.job(job.id).state().progress >= told
        job.cancel()


def test_who_leaves_a_stream_leaves_no_job(fleet: Fleet) -> None:
    with Client(fleet.gateway.http) as client:
        for _ in range(3):
            with client.stream("count", {"u": ZEROS}, steps=4000) as frames:
                next(frames)
    poll_until(lambda: not fleet.holders(), "no job to be in the hands of the worker")

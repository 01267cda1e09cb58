"""Models that advance in time, in a fleet: freed at once, and never lost."""

import threading
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest

from certisolve import Client, JobStatus
from certisolve.v1 import worker_pb2, worker_pb2_grpc
from fleet import Fleet, Process, poll_until, run_fleet

ZEROS = np.zeros(16, np.float32)
#: Signs of life come so seldom that what is freed before was freed by being told.
_NEVER_S = 3000


@pytest.fixture(scope="module")
def slow_fleet(counting_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    directory = tmp_path_factory.mktemp("steps") / "fleet"
    options = ("--lease-s", str(_NEVER_S))
    with run_fleet(counting_models, directory, options=options) as fleet:
        yield fleet


@pytest.fixture(scope="module")
def mortal_fleet(
    counting_models: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Fleet]:
    directory = tmp_path_factory.mktemp("mortal") / "fleet"
    options = ("--lease-s", "1")
    with run_fleet(counting_models, directory, workers=2, options=options) as fleet:
        yield fleet


def _num_running(worker: Process) -> int:
    with grpc.insecure_channel(worker.authority) as channel:
        status = worker_pb2_grpc.WorkerServiceStub(channel).Status(worker_pb2.StatusRequest())
    return int(status.num_running)


def test_a_cancelled_job_frees_its_slot_without_waiting_for_a_sign_of_life(
    slow_fleet: Fleet,
) -> None:
    with Client(slow_fleet.gateway.http) as client:
        job = client.submit_solve("count", {"u": ZEROS}, t=[4096.0])
        poll_until(lambda: _num_running(slow_fleet.worker) == 1, "the job to run")
        assert job.cancel() is JobStatus.CANCELLED
        poll_until(lambda: _num_running(slow_fleet.worker) == 0, "its slot to be free")


def test_a_stream_that_is_left_frees_its_slot(slow_fleet: Fleet) -> None:
    with Client(slow_fleet.gateway.http) as client:
        with client.stream("count", {"u": ZEROS}, steps=4096) as frames:
            assert next(frames).fields["u"][0] == 1.0
            assert _num_running(slow_fleet.worker) == 1
        poll_until(lambda: _num_running(slow_fleet.worker) == 0, "its slot to be free")


def test_a_short_job_overtakes_a_long_one(slow_fleet: Fleet) -> None:
    with Client(slow_fleet.gateway.http) as client:
        job = client.submit_solve("count", {"u": ZEROS}, t=[4096.0])
        poll_until(lambda: _num_running(slow_fleet.worker) == 1, "the job to run")
        short = client.solve("count", {"u": ZEROS + 5}, t=[1.0, 3.0])
        np.testing.assert_array_equal(short.fields["u"][:, 0], [6.0, 8.0])
        assert short.batch_size == 2
        assert job.status() is JobStatus.RUNNING
        job.cancel()


def test_a_stream_goes_on_when_its_worker_dies(mortal_fleet: Fleet) -> None:
    with (
        Client(mortal_fleet.gateway.http) as client,
        client.stream("count", {"u": ZEROS}, steps=600) as frames,
    ):
        values = [next(frames).fields["u"][0] for _ in range(5)]
        victim = next(w for w in mortal_fleet.workers if _num_running(w) == 1)
        threading.Thread(target=victim.kill).start()
        values += [frame.fields["u"][0] for frame in frames]
        assert frames.summary.status == "ok"
    assert values == list(range(1, 601))

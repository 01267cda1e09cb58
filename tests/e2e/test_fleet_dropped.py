"""What nobody waits for any more never reaches the device."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import httpx
import numpy as np
import pytest

from certisolve import Client, Job
from certisolve.v1 import solve_pb2, solve_pb2_grpc, tensor_pb2
from fleet import Fleet, poll_until, run_fleet, work_lasting
from ledger import Ledger

_PASSES = 'certisolve_batch_size_sum{model="double"}'
_FENCED = "certisolve_fenced_answers_total"
_BODY = {"inputs": {"u0": [1.0] * 16}}


@pytest.fixture(scope="module")
def fleet(fleet_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    directory = tmp_path_factory.mktemp("dropped") / "fleet"
    with run_fleet(fleet_models, directory) as fleet:
        yield fleet


@pytest.fixture(scope="module")
def long_work(fleet: Fleet) -> np.ndarray:
    return work_lasting(2.0, fleet.gateway)


@pytest.fixture
def client(fleet: Fleet) -> Iterator[Client]:
    with Client(fleet.gateway.http, timeout=60) as client:
        yield client


class Queue:
    """A worker that is busy, and what waits for it."""

    def __init__(self, fleet: Fleet, client: Client) -> None:
        self.fleet = fleet
        self.known = set(Ledger(fleet.redis.directory).jobs)
        self.client = client
        self.passes = fleet.worker.metric(_PASSES)

    def new_jobs(self) -> set[str]:
        return set(Ledger(self.fleet.redis.directory).jobs) - self.known

    def end_of(self, job_id: str) -> list[str]:
        return Ledger(self.fleet.redis.directory).jobs[job_id].ends


@pytest.fixture(params=["in the worker", "in the queue"])
def queue(
    request: pytest.FixtureRequest, fleet: Fleet, client: Client, long_work: np.ndarray
) -> Iterator[Queue]:
    """The device is busy; jobs wait where the parameter says.

    Afterwards it has run nothing of `double` but one last request.
    """
    busy = client.submit_solve("work", {"u0": long_work})
    fleet.holder(busy.id)
    # With a whole batch in hand, a worker leaves the rest in the queue.
    num_mates = 4 if request.param == "in the queue" else 0
    mates = [client.submit_solve("work", {"u0": np.ones(8, np.float32)}) for _ in range(num_mates)]
    for mate in mates:
        fleet.holder(mate.id)
    queue = Queue(fleet, client)
    yield queue
    assert busy.status() == "running", "the device was not busy for long enough"
    client.solve("double", {"u0": np.ones(16, np.float32)})
    assert fleet.worker.metric(_PASSES) == queue.passes + 1


def _wait_where_it_waits(queue: Queue, where: str) -> str:
    """The id of the only new job, once it waits."""
    [job_id] = poll_until(queue.new_jobs, "the job to be accepted")
    if where == "in the worker":
        queue.fleet.holder(job_id)
    return job_id


@pytest.fixture
def where(request: pytest.FixtureRequest) -> str:
    return str(request.node.callspec.params["queue"])


def test_a_cancelled_job_never_reaches_the_device(queue: Queue, where: str) -> None:
    job = queue.client.submit_solve("double", {"u0": np.ones(16, np.float32)})
    _wait_where_it_waits(queue, where)
    assert job.cancel() == "cancelled"
    assert job.status() == "cancelled"
    assert queue.end_of(job.id) == ["cancelled"]


def test_an_expired_job_never_reaches_the_device(queue: Queue) -> None:
    response = httpx.post(
        f"{queue.fleet.gateway.http}/v1/models/double/solve",
        json=_BODY,
        headers={"Certisolve-Deadline-Ms": "300"},
        timeout=30,
    )
    assert response.status_code == 504
    problem = response.json()
    assert problem["code"] == "deadline_exceeded"
    assert "in the queue" in problem["detail"]


def test_the_job_of_an_http_client_that_went_away_is_dropped(queue: Queue, where: str) -> None:
    with httpx.Client(base_url=queue.fleet.gateway.http, timeout=30) as http:
        gone = threading.Thread(target=_expect(httpx.ReadTimeout, lambda: http.post(
            "/v1/models/double/solve", json=_BODY, timeout=httpx.Timeout(30, read=0.5)
        )))  # fmt: skip
        gone.start()
        job_id = _wait_where_it_waits(queue, where)
        gone.join()
    poll_until(lambda: queue.end_of(job_id) == ["cancelled"], "the job to be dropped", 2)


def test_a_solve_that_is_cancelled_over_grpc_is_dropped(queue: Queue, where: str) -> None:
    u0 = np.ones(16, np.float32)
    tensor = tensor_pb2.Tensor(dtype="F32", shape=u0.shape, data=u0.tobytes())
    with grpc.insecure_channel(queue.fleet.gateway.authority) as channel:
        stub = solve_pb2_grpc.SolverServiceStub(channel)
        call = stub.Solve.future(solve_pb2.SolveRequest(model="double", inputs={"u0": tensor}))
        job_id = _wait_where_it_waits(queue, where)
        assert call.cancel()
        poll_until(lambda: queue.end_of(job_id) == ["cancelled"], "the job to be dropped", 2)


def test_a_job_that_is_cancelled_while_it_runs_ends_at_once_and_unanswered(
    fleet: Fleet, client: Client, long_work: np.ndarray
) -> None:
    num_fenced = fleet.worker.metric(_FENCED)
    job: Job = client.submit_solve("work", {"u0": long_work})
    poll_until(lambda: job.status() == "running", "the job to run")
    assert job.cancel() == "cancelled"
    poll_until(lambda: fleet.worker.metric(_FENCED) == num_fenced + 1, "its answer to be refused")
    assert Ledger(fleet.redis.directory).jobs[job.id].ends == ["cancelled"]
    assert job.status() == "cancelled"


def _expect(kind: type[Exception], call: Callable[[], object]) -> Callable[[], None]:
    def run() -> None:
        with pytest.raises(kind):
            call()

    return run

"""A worker that is told to stop loses nothing, and an operator can tell it what to serve."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import httpx
import numpy as np
import pytest

from certisolve import AsyncClient, AsyncJob, Client, Solution
from certisolve.v1 import worker_pb2, worker_pb2_grpc
from fleet import Fleet, Process, poll_until, run_fleet, work_lasting
from ledger import Ledger

_NUM_JOBS = 80
#: Enough for batches of a tenth of a second.
_WORK_POINTS = 900
_MAX_BATCH_SIZE = 4


@pytest.fixture(scope="module")
def lasting_fleet(fleet_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with run_fleet(fleet_models, tmp_path_factory.mktemp("drain") / "fleet", workers=2) as fleet:
        yield fleet


@pytest.fixture
def fleet(lasting_fleet: Fleet) -> Fleet:
    """Complete again, whoever left it before."""
    for worker in lasting_fleet.workers:
        if not worker.is_running:
            worker.start()
    lasting_fleet.wait_until_complete()
    return lasting_fleet


@contextmanager
def _operator(worker: Process) -> Iterator[worker_pb2_grpc.WorkerServiceStub]:
    with grpc.insecure_channel(worker.authority) as channel:
        yield worker_pb2_grpc.WorkerServiceStub(channel)


def _placed(gateway: Process) -> dict[str, set[str]]:
    """The workers of every model, as `GET /v1/models` has them."""
    models = httpx.get(f"{gateway.http}/v1/models", timeout=10).json()["models"]
    return {model["name"]: {worker["name"] for worker in model["workers"]} for model in models}


def _work(index: int) -> np.ndarray:
    return (index + np.arange(_WORK_POINTS) / _WORK_POINTS).astype(np.float32)


async def _submit_all(client: AsyncClient) -> list[AsyncJob]:
    submissions = (client.submit_solve("work", {"u0": _work(index)}) for index in range(_NUM_JOBS))
    return await asyncio.gather(*submissions)


async def _wait_for_all(jobs: list[AsyncJob]) -> None:
    solutions = await asyncio.gather(*(job.wait(60) for job in jobs))
    for index, solution in enumerate(solutions):
        assert np.array_equal(solution.fields["u"], _work(index)), index


def test_a_stopped_worker_finishes_its_batch_and_hands_the_rest_back(fleet: Fleet) -> None:
    def has_jobs_to_spare() -> bool:
        return list(fleet.holders().values()).count(fleet.worker.name) > _MAX_BATCH_SIZE

    async def stop_one_under_load() -> tuple[list[AsyncJob], int]:
        async with AsyncClient(fleet.gateway.http, timeout=60) as client:
            jobs = await _submit_all(client)
            await asyncio.to_thread(poll_until, has_jobs_to_spare, "one batch to wait for another")
            status = await asyncio.to_thread(fleet.worker.stop)
            await _wait_for_all(jobs)
            return jobs, status

    jobs, status = asyncio.run(stop_one_under_load())
    assert status == 0
    ledger = Ledger(fleet.redis.directory)
    assert all(ledger.jobs[job.id].ends == ["succeeded"] for job in jobs)
    assert ledger.total("num_crashes") == 0, "a drained worker was taken for dead"
    handed_back = [job.id for job in jobs if ledger.jobs[job.id].num_deliveries > 1]
    assert handed_back, "the worker had nothing to hand back"
    poll_until(lambda: len(_placed(fleet.gateway)["work"]) == 1, "the worker to leave the fleet", 5)


def test_the_last_worker_leaves_its_jobs_to_the_next(fleet: Fleet) -> None:
    last, other = fleet.workers
    assert other.stop() == 0
    u0 = work_lasting(1.5, fleet.gateway)
    with Client(fleet.gateway.http, timeout=60) as client:
        running = client.submit_solve("work", {"u0": u0})
        fleet.holder(running.id)
        waiting = client.submit_solve("double", {"u0": np.ones(16, np.float32)})
        fleet.holder(waiting.id)
        assert last.stop() == 0
        assert running.status() == "succeeded"
        state = waiting.state()
        assert (state.status, state.position) == ("queued", 0)
        other.start()
        assert np.array_equal(waiting.wait(30).fields["u"], np.full(16, 2, np.float32))
    assert Ledger(fleet.redis.directory).jobs[waiting.id].num_crashes == 0


def test_an_operator_moves_models_while_jobs_run(fleet: Fleet) -> None:
    with _operator(fleet.worker) as operator:
        _check_status(fleet, operator)
        _move_work(fleet, operator)
    assert Ledger(fleet.redis.directory).total("num_crashes") == 0


def _check_status(fleet: Fleet, operator: worker_pb2_grpc.WorkerServiceStub) -> None:
    status = operator.Status(worker_pb2.StatusRequest(), timeout=10)
    assert (status.worker.name, status.worker.device) == (fleet.worker.name, "cpu")
    assert status.worker.grpc == fleet.worker.authority
    assert (status.state, {m.model.name for m in status.models if m.ready}) == (
        "serving",
        {"double", "heavy", "scale", "work"},
    )


def _move_work(fleet: Fleet, operator: worker_pb2_grpc.WorkerServiceStub) -> None:
    both = {worker.name for worker in fleet.workers}
    assert _placed(fleet.gateway)["work"] == both

    async def move() -> None:
        async with AsyncClient(fleet.gateway.http, timeout=60) as client:
            jobs = await _submit_all(client)
            gone = await asyncio.to_thread(
                operator.UnloadModel, worker_pb2.UnloadModelRequest(name="work"), timeout=30
            )
            assert "work" not in {loaded.model.name for loaded in gone.models}
            await _wait_for_all(jobs)

    asyncio.run(move())
    poll_until(
        lambda: _placed(fleet.gateway)["work"] == both - {fleet.worker.name}, "the unloading", 5
    )
    assert _placed(fleet.gateway)["double"] == both
    back = operator.LoadModel(worker_pb2.LoadModelRequest(name="work"), timeout=60)
    assert "work" in {loaded.model.name for loaded in back.models if loaded.ready}
    poll_until(lambda: _placed(fleet.gateway)["work"] == both, "the loading", 5)
    with Client(fleet.worker.grpc) as client:
        assert np.array_equal(client.solve("work", {"u0": _work(1)}).fields["u"], _work(1))
    with pytest.raises(grpc.RpcError) as caught:
        operator.LoadModel(worker_pb2.LoadModelRequest(name="nobody"), timeout=60)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_drain_over_grpc_ends_the_process_once_its_work_is_done(fleet: Fleet) -> None:
    u0 = work_lasting(1.5, fleet.gateway)
    with Client(fleet.gateway.http, timeout=60) as client:
        jobs = [client.submit_solve("work", {"u0": u0 + index}) for index in range(2)]
        busy = fleet.holder(jobs[0].id)
        with _operator(busy) as operator:
            status = operator.Status(worker_pb2.StatusRequest(), timeout=10)
            assert status.num_running >= 1
            assert operator.Drain(worker_pb2.DrainRequest(), timeout=10).state == "draining"
        assert busy.wait(30) == 0
        for index, job in enumerate(jobs):
            assert np.array_equal(job.wait(30).fields["u"], u0 + index)
    told = json.loads(fleet.operate("status", "--json"))["workers"]
    assert {worker["name"] for worker in told} == {w.name for w in fleet.workers} - {busy.name}
    assert Ledger(fleet.redis.directory).total("num_crashes") == 0


def test_direct_callers_whom_a_worker_let_in_are_answered_before_it_leaves(fleet: Fleet) -> None:
    u0 = work_lasting(1.0, fleet.gateway)

    async def call_while_it_drains() -> list[Solution]:
        async with AsyncClient(fleet.worker.http, timeout=30) as client:
            first = asyncio.ensure_future(client.solve("work", {"u0": u0}))
            running = "certisolve_queue_depth"
            await asyncio.to_thread(
                poll_until, lambda: fleet.worker.metric(running), "the solve to run"
            )
            second = asyncio.ensure_future(client.solve("double", {"u0": np.ones(16, np.float32)}))
            await asyncio.to_thread(
                poll_until, lambda: fleet.worker.metric(running) == 2, "the solve to wait"
            )
            status = await asyncio.to_thread(fleet.worker.stop)
            assert status == 0
            return await asyncio.gather(first, second)

    first, second = asyncio.run(call_while_it_drains())
    assert np.array_equal(first.fields["u"], u0)
    assert np.array_equal(second.fields["u"], np.full(16, 2, np.float32))

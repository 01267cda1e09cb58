"""Large fields pass beside Redis, through the shared memory of a machine, which is left clean."""

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import redis

from certisolve import Client, ConnectionFailed, RetryPolicy, Solution
from certisolve_server.broker.redis import RedisBroker
from certisolve_server.broker.redis.segments import Segments
from fleet import Fleet, Process, poll_until, run_fleet
from ledger import Ledger

_U0 = np.arange(1 << 18, dtype=np.float32)
_SMALL = np.arange(1 << 10, dtype=np.float32)
pytestmark = pytest.mark.skipif(not Segments("any").host, reason="no POSIX shared memory here")


@pytest.fixture(scope="module")
def fleet(fleet_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    directory = tmp_path_factory.mktemp("segments") / "fleet"
    options = ("--lease-s", "1")
    with run_fleet(fleet_models, directory, workers=2, options=options) as fleet:
        yield fleet


def test_a_large_field_passes_beside_redis(fleet: Fleet) -> None:
    with _stopped(fleet.workers), _solving(fleet, _U0) as solution:
        job_id = _accepted(fleet)
        assert _sides(fleet) == ["in"]
        assert _num_body_bytes(fleet, job_id) < 200
        _let_go(fleet.workers)
        assert np.array_equal(solution.result(30).fields["u"], 2 * _U0)
    assert fleet.segment_paths() == []


def test_a_small_field_passes_through_redis(fleet: Fleet) -> None:
    with _stopped(fleet.workers), _solving(fleet, _SMALL) as solution:
        job_id = _accepted(fleet)
        assert fleet.segment_paths() == []
        assert _num_body_bytes(fleet, job_id) > _SMALL.nbytes
        _let_go(fleet.workers)
        assert np.array_equal(solution.result(30).fields["u"], 2 * _SMALL)


def test_a_result_that_is_kept_outlives_shared_memory(fleet: Fleet) -> None:
    with Client(fleet.gateway.http, timeout=60) as client:
        job = client.submit_solve("heavy", {"u0": _U0})
        fleet.holder(job.id)
        assert fleet.segment_paths() == []
        assert np.array_equal(job.wait(30).fields["u"], 2 * _U0)


def test_another_worker_reads_what_a_killed_one_was_running(fleet: Fleet) -> None:
    with _solving(fleet, _U0) as solution:
        victim = fleet.holder(_accepted(fleet))
        victim.kill()
        victim.launch()
        assert np.array_equal(solution.result(30).fields["u"], 2 * _U0)
    assert fleet.segment_paths() == []
    victim.wait_until_ready()


def test_what_dead_processes_leave_is_swept(fleet: Fleet) -> None:
    with _solving(fleet, _U0) as solution:
        job_id = _accepted(fleet)
        victim = fleet.holder(job_id)
        victim.kill()
        fleet.gateway.kill()
        with pytest.raises(ConnectionFailed):
            solution.result(30)
    _age(fleet)
    asyncio.run(_sweep(fleet))
    assert _sides(fleet) == ["in"], "a job that had not ended was robbed of its input"

    # The other worker answers, to nobody.
    poll_until(lambda: Ledger(fleet.redis.directory).jobs[job_id].ends, "the job to end")
    asyncio.run(_sweep(fleet))
    assert _sides(fleet) == ["out"], "a segment was swept within its first minute"
    _age(fleet)
    asyncio.run(_sweep(fleet))
    assert fleet.segment_paths() == []
    for process in (victim, fleet.gateway):
        process.start()
    fleet.wait_until_complete()


def test_without_shared_memory_large_fields_pass_through_redis(
    fleet_models: Path, tmp_path: Path
) -> None:
    env = {"CERTISOLVE_SHARED_MEMORY": "false"}
    with (
        run_fleet(fleet_models, tmp_path / "fleet", env=env) as fleet,
        _stopped(fleet.workers),
        _solving(fleet, _U0) as solution,
    ):
        job_id = _accepted(fleet)
        assert fleet.segment_paths() == []
        assert _num_body_bytes(fleet, job_id) > _U0.nbytes
        _let_go(fleet.workers)
        assert np.array_equal(solution.result(30).fields["u"], 2 * _U0)
        assert fleet.segment_paths() == []


@contextmanager
def _solving(fleet: Fleet, u0: np.ndarray) -> Iterator["Future[Solution]"]:
    """A request for `heavy` on its way, by a client that never repeats it."""
    once = RetryPolicy(max_attempts=1)
    with (
        Client(fleet.gateway.http, timeout=60, retry=once) as client,
        ThreadPoolExecutor(1) as thread,
    ):
        yield thread.submit(client.solve, "heavy", {"u0": u0})


@contextmanager
def _stopped(workers: tuple[Process, ...]) -> Iterator[None]:
    for worker in workers:
        worker.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        _let_go(workers)


def _let_go(workers: tuple[Process, ...]) -> None:
    for worker in workers:
        worker.signal(signal.SIGCONT)


def _accepted(fleet: Fleet) -> str:
    """The id of the only job that has not ended, as soon as there is one."""

    def alive() -> list[str]:
        jobs = Ledger(fleet.redis.directory).jobs
        return [job_id for job_id, job in jobs.items() if job.num_accepted and not job.ends]

    [job_id] = poll_until(alive, "the job to be accepted")
    return job_id


def _num_body_bytes(fleet: Fleet, job_id: str) -> int:
    with redis.Redis.from_url(fleet.redis.url) as client:
        return int(client.hstrlen(f"{{{fleet.queue}}}:job:{job_id}", "body"))


def _sides(fleet: Fleet) -> list[str]:
    return sorted(path.name.split("-")[-2] for path in fleet.segment_paths())


def _age(fleet: Fleet) -> None:
    """Make every segment two minutes old."""
    born_at = time.time() - 120
    for path in fleet.segment_paths():
        os.utime(path, (born_at, born_at))


async def _sweep(fleet: Fleet) -> None:
    async with RedisBroker(
        fleet.redis.url, "sweeper", prefix=fleet.queue, shared_memory=True
    ) as broker:
        await broker.sweep()

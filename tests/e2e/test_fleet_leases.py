"""A worker that lives keeps its jobs, however long they take; one that fell silent loses them."""

import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from certisolve import Client
from fleet import Fleet, poll_until, run_fleet, work_lasting
from ledger import Ledger

_LEASE_S = 1.0
_FENCED = "certisolve_fenced_answers_total"
_REDELIVERED = "certisolve_redeliveries_total"


@pytest.fixture(scope="module")
def fleet(fleet_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    directory = tmp_path_factory.mktemp("leases") / "fleet"
    options = ("--lease-s", str(_LEASE_S))
    with run_fleet(fleet_models, directory, workers=2, options=options) as fleet:
        yield fleet


def _sum(fleet: Fleet, series: str) -> float:
    return sum(process.metric(series) for process in fleet.processes)


def test_a_job_longer_than_three_leases_stays_with_its_worker(fleet: Fleet) -> None:
    u0 = work_lasting(6 * _LEASE_S, fleet.gateway)
    redelivered = _sum(fleet, _REDELIVERED)
    with Client(fleet.gateway.http, timeout=60) as client:
        job = client.submit_solve("work", {"u0": u0})
        solution = job.wait(60)
    assert solution.timings_ms.compute > 3e3 * _LEASE_S
    assert np.array_equal(solution.fields["u"], u0)
    assert _sum(fleet, "certisolve_lease_renewals_total") >= 3
    assert _sum(fleet, _REDELIVERED) == redelivered
    assert Ledger(fleet.redis.directory).jobs[job.id].num_deliveries == 1


def test_the_late_answer_of_a_stopped_worker_changes_nothing(fleet: Fleet) -> None:
    u0 = work_lasting(1.0, fleet.gateway)
    with Client(fleet.gateway.http, timeout=60) as client:
        job = client.submit_solve("work", {"u0": u0})
        stopped = fleet.holder(job.id)
        stopped.signal(signal.SIGSTOP)
        try:
            solution = job.wait(60)
        finally:
            stopped.signal(signal.SIGCONT)
        assert np.array_equal(solution.fields["u"], u0)
        poll_until(lambda: stopped.metric(_FENCED) >= 1, "the late answer to be fenced off", 30)
        again = job.wait(5)
    assert again.timings_ms == solution.timings_ms, "the late answer replaced the first"
    record = Ledger(fleet.redis.directory).jobs[job.id]
    assert (record.ends, record.num_deliveries, record.num_crashes) == (["succeeded"], 2, 1)


def test_a_job_does_not_wait_behind_a_busy_worker_while_another_idles(fleet: Fleet) -> None:
    u0 = work_lasting(0.5, fleet.gateway)
    with Client(fleet.gateway.http, timeout=60) as client:
        for _ in range(6):
            first = client.submit_solve("work", {"u0": u0})
            busy = fleet.holder(first.id)
            second = client.submit_solve("work", {"u0": u0})
            assert fleet.holder(second.id) is not busy
            for job in (first, second):
                job.wait(30)

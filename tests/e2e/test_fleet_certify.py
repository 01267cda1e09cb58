"""Certifications of a fleet: none is lost with its worker, and what is cancelled leaves nothing."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from certify_models import hard, write_certify_models
from certisolve import Cancelled, Client
from fleet import Fleet, Process, poll_until, run_fleet

_LEASE_S = 2.0
_PROVER = "certisolve_server.certification.main"
CENTER = np.linspace(0.1, 0.9, 16, dtype=np.float32)
EASY = {"center": {"u0": CENTER}, "radius": 0.1, "norm": "linf", "budget_s": 5}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    models = tmp_path_factory.mktemp("certify-models")
    write_certify_models(models)
    directory = tmp_path_factory.mktemp("certify") / "fleet"
    options = ("--lease-s", str(_LEASE_S))
    with run_fleet(models, directory, workers=2, options=options) as fleet:
        yield fleet


def provers(worker: Process) -> set[int]:
    """The processes that prove for a worker."""
    parent = str(worker.pid)
    return {
        int(path.parent.name)
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if _PROVER in _read(path) and _parent(path.parent) == parent
    }


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def best_so_far(fleet: Fleet, job_id: str) -> dict[str, object] | None:
    said = httpx.get(f"{fleet.gateway.http}/v1/jobs/{job_id}", timeout=10).json()
    return said.get("certificate")


@pytest.mark.timeout(240)
def test_a_certification_outlives_its_worker(fleet: Fleet) -> None:
    with Client(fleet.gateway.http, timeout=60) as client:
        job = client.submit_certify("network", **hard(1.0, budget_s=15.0))
        doomed = fleet.holder(job.id)
        poll_until(lambda: best_so_far(fleet, job.id), "a bound")
        orphans = provers(doomed)
        assert orphans
        doomed.kill()
        try:
            poll_until(lambda: not any(map(is_alive, orphans)), "its processes to follow it", 30)
            others = {worker.name for worker in fleet.workers} - {doomed.name}
            poll_until(lambda: fleet.holders().get(job.id) in others, "another to take it over")
            found = job.wait(120)
        finally:
            doomed.start()
            fleet.wait_until_complete()
    assert np.isfinite(found.upper)
    assert 0 < found.lower <= found.upper
    assert found.document["evidence"] is not None


def test_cancelling_ends_the_process_in_another_process(fleet: Fleet) -> None:
    with Client(fleet.gateway.http, timeout=60) as client:
        job = client.submit_certify("network", **hard(0.9, budget_s=300.0))
        worker = fleet.holder(job.id)
        [pid] = poll_until(lambda: provers(worker), "a process to prove")
        poll_until(lambda: best_so_far(fleet, job.id), "a bound")
        job.cancel()
        poll_until(lambda: not is_alive(pid), "the process to end", 10)
        with pytest.raises(Cancelled):
            job.wait(10)
        assert client.certify("double", **EASY).upper == pytest.approx(2.0, rel=1e-3)


def test_two_clients_are_answered_by_two_workers(fleet: Fleet) -> None:
    with Client(fleet.gateway.http, timeout=60) as client:
        jobs = [
            client.submit_certify("network", **hard(reach, budget_s=300.0)) for reach in (0.8, 0.7)
        ]
        holders = {fleet.holder(job.id).name for job in jobs}
        for job in jobs:
            job.cancel()
    assert len(holders) == 2


def test_bounds_get_better_as_they_are_followed(fleet: Fleet) -> None:
    with Client(fleet.gateway.http, timeout=60) as client:
        job = client.submit_certify("network", **hard(0.6, budget_s=12.0))
        with contextlib.closing(job.events()) as events:
            told = [info.bounds for info in events if info.bounds is not None]
        found = job.wait(60)
    assert told
    uppers = [each.upper for each in told] + [found.upper]
    assert uppers == sorted(uppers, reverse=True)


@pytest.mark.parametrize("where", ["gateway", "worker"])
def test_a_stream_tells_better_bounds_through_any_door(fleet: Fleet, where: str) -> None:
    url = (fleet.gateway if where == "gateway" else fleet.worker).grpc
    reach = 0.5 if where == "gateway" else 0.4
    with Client(url, timeout=60) as client:
        told = list(client.certify_stream("network", **hard(reach, budget_s=8.0)))
    uppers = [each.upper for each in told]
    assert uppers == sorted(uppers, reverse=True)
    assert told[-1].status != "improving"
    assert told[-1].document["evidence"] is not None


def test_who_leaves_a_stream_leaves_no_search(fleet: Fleet) -> None:
    with Client(fleet.gateway.grpc, timeout=60) as client:
        told = client.certify_stream("network", **hard(0.3, budget_s=300.0))
        next(told)
        told.close()
    poll_until(lambda: not fleet.holders(), "no job to be in the hands of a worker")


def test_solves_are_answered_while_both_workers_certify(fleet: Fleet) -> None:
    with Client(fleet.gateway.http, timeout=60) as client:
        jobs = [
            client.submit_certify("network", **hard(reach, budget_s=300.0)) for reach in (0.2, 0.1)
        ]
        for job in jobs:
            fleet.holder(job.id)
        for number in range(100):
            field = CENTER + np.float32(number)
            found = client.solve("double", {"u0": field}).fields["u"]
            np.testing.assert_array_equal(found, 2 * field)
        assert [job.status() for job in jobs] == ["running", "running"]
        for job in jobs:
            job.cancel()


def _parent(process: Path) -> str:
    return (_read(process / "stat").rpartition(")")[2].split() or ["", ""])[1]


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""

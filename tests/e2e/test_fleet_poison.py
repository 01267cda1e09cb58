"""A request that kills whoever runs it is put aside, and takes nobody else along."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import poisoned_worker
from certisolve import Client, InternalServerError, Job
from fleet import Fleet, Process, run_fleet, work_lasting
from ledger import Ledger
from poisoned_worker import POISON

_MAX_DELIVERIES = 3


@contextmanager
def _restarted_when_it_dies(worker: Process) -> Iterator[None]:
    """As a supervisor would."""
    done = threading.Event()

    def supervise() -> None:
        while not done.wait(0.02):
            if not worker.is_running:
                worker.wait()
                worker.launch()

    thread = threading.Thread(target=supervise)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _field(first: float) -> np.ndarray:
    return np.linspace(first, first + 1, 16, dtype=np.float32)


def _dead(fleet: Fleet) -> dict[str, dict[str, object]]:
    return {letter["id"]: letter for letter in json.loads(fleet.operate("dead", "--json"))}


@pytest.mark.timeout(180)
def test_a_poison_job_is_put_aside_and_its_batch_mates_are_answered(
    fleet_models: Path, tmp_path: Path
) -> None:
    fault = tmp_path / "fault"
    fault.touch()
    with (
        run_fleet(
            fleet_models,
            tmp_path / "fleet",
            options=("--lease-s", "1", "--max-deliveries", str(_MAX_DELIVERIES)),
            worker_options=("--load", "double,work"),
            worker_program=(poisoned_worker.__file__,),
            env={poisoned_worker.WHILE: str(fault)},
        ) as fleet,
        Client(fleet.gateway.http, timeout=60) as client,
    ):
        with _restarted_when_it_dies(fleet.worker):
            poisons, mates = _submit_one_batch(fleet, client)
            for poison in poisons:
                with pytest.raises(InternalServerError, match="3 times") as caught:
                    poison.wait(60)
                assert caught.value.code == "dead_lettered"
            for index, mate in enumerate(mates):
                assert np.array_equal(mate.wait(30).fields["u"], 2 * _field(index))
        _check_deaths(fleet, poisons, mates)
        letters = _dead(fleet)
        assert letters.keys() == {poison.id for poison in poisons}
        assert {letter["deliveries"] for letter in letters.values()} == {_MAX_DELIVERIES}

        mended, forgotten = poisons
        assert fleet.operate("purge", forgotten.id) == "forgot 1\n"
        assert _dead(fleet).keys() == {mended.id}
        fault.unlink()
        assert f"/v1/jobs/{mended.id}" in fleet.operate("replay", mended.id)
        assert np.array_equal(mended.wait(30).fields["u"], 2 * _field(POISON))
        assert _dead(fleet) == {}


def _submit_one_batch(fleet: Fleet, client: Client) -> tuple[list[Job], list[Job]]:
    """Two poisons and their mates."""
    # While the device is busy, a batch forms.
    busy = client.submit_solve("work", {"u0": work_lasting(2.0, fleet.gateway)})
    fleet.holder(busy.id)
    mates = [client.submit_solve("double", {"u0": _field(index)}) for index in range(3)]
    poisons = [client.submit_solve("double", {"u0": _field(POISON)}) for _ in range(2)]
    mates += [client.submit_solve("double", {"u0": _field(index)}) for index in range(3, 6)]
    assert busy.status() == "running", "the batch was not formed in time"
    return poisons, mates


def _check_deaths(fleet: Fleet, poisons: list[Job], mates: list[Job]) -> None:
    # All died together once; after that, each was on its own.
    assert fleet.worker.num_starts - 1 == 1 + len(poisons) * (_MAX_DELIVERIES - 1)
    jobs = Ledger(fleet.redis.directory).jobs
    assert {jobs[poison.id].num_crashes for poison in poisons} == {_MAX_DELIVERIES}
    assert {jobs[mate.id].num_crashes for mate in mates} == {1}
    assert all(jobs[mate.id].ends == ["succeeded"] for mate in mates)

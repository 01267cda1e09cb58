"""A session belongs to no process: whoever dies, the next call goes on from the last answer."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from certisolve import Client, NotFound, SessionConflict
from family_models import DT, SIZE
from fleet import Fleet, poll_until, run_fleet

_LEASE_S = 1.0
_RNG = np.random.default_rng(3)
_FRAMES = _RNG.uniform(0.1, 0.9, (8, SIZE)).astype(np.float32)
_DRIFT = {"w": _FRAMES[0], "f": _FRAMES[1]}
_MEASURED = _RNG.uniform(-1, 1, (9, 2)).astype(np.float32)
#: One call of many jobs, so that there is always one under way: 80 times 50 steps.
_TIMES = np.round(DT * np.arange(50, 4001, 50), 6)


@pytest.fixture(scope="module")
def fleet(family_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    directory = tmp_path_factory.mktemp("sessions") / "fleet"
    options = ("--lease-s", str(_LEASE_S))
    with run_fleet(family_models, directory, gateways=2, workers=2, options=options) as fleet:
        yield fleet


def _long_call(client: Client) -> Any:
    """A session that forgets half of what it forecasts, eighty times."""
    values = np.resize(_FRAMES, (len(_TIMES), SIZE)).astype(np.float32)
    mask = np.arange(SIZE) % 2 == np.arange(len(_TIMES))[:, None] % 2
    with client.session("drift", _DRIFT) as session:
        session.observe(_TIMES, {"w": values}, mask={"w": mask})
        return session.predict(_TIMES[-1] + DT).fields["w"]


def _aside(call: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    """The call under way in a thread, and where its answer will be."""
    answers: list[Any] = []
    thread = threading.Thread(target=lambda: answers.append(call()))
    thread.start()
    return thread, answers


def test_a_session_goes_on_from_gateway_to_gateway(fleet: Fleet) -> None:
    here, there = (gateway.http for gateway in fleet.gateways)
    # A worker's own doors know the sessions of the fleet too.
    with Client(here) as one, Client(there) as other, Client(fleet.worker.grpc) as direct:
        reference = one.session("pendulum", {"x": _MEASURED[0]}, automatic_gain=True)
        first = one.session("pendulum", {"x": _MEASURED[0]}, automatic_gain=True)
        second = other.attach_session(first.id)
        third = direct.attach_session(first.id)
        for index, measured in enumerate(_MEASURED[1:]):
            time = DT * (index + 1) ** 1.1
            reference.observe(time, {"x": measured})
            (first, second, third)[index % 3].observe(time, {"x": measured})
        expected = reference.predict([time + 0.25]).fields["x"]
        for session in (first, second, third):
            np.testing.assert_array_equal(session.predict([time + 0.25]).fields["x"], expected)
        assert second.refresh().sequence == 8
        first.close()
        with pytest.raises(NotFound):
            second.refresh()


def test_of_two_writers_at_two_gateways_one_is_told(fleet: Fleet) -> None:
    with Client(fleet.gateways[0].http) as one, Client(fleet.gateways[1].grpc) as other:
        session = one.session("drift", _DRIFT)
        twin = other.attach_session(session.id)
        values = np.resize(_FRAMES, (len(_TIMES), SIZE)).astype(np.float32)
        ends: list[Any] = []

        def observe(handle: Any, measured: Any) -> None:
            try:
                ends.append(handle.observe(_TIMES, {"w": measured}))
            except SessionConflict as error:
                ends.append(error)

        threads = [
            threading.Thread(target=observe, args=(session, values)),
            threading.Thread(target=observe, args=(twin, values / 2)),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        conflicts = [end for end in ends if isinstance(end, SessionConflict)]
        assert [error.code for error in conflicts] == ["session_conflict"]
        assert session.refresh().sequence == 1
        session.close()


def test_a_session_survives_its_gateway_and_redis(fleet: Fleet) -> None:
    with Client(fleet.gateways[0].http) as one, Client(fleet.gateways[1].http) as other:
        session = one.session("recall", {"u": _FRAMES[0]})
        session.observe([0.1, 0.2], {"u": _FRAMES[1:3]})
        expected = session.predict([0.3, 0.4]).fields["u"]
        fleet.gateway.kill()
        again = other.attach_session(session.id)
        np.testing.assert_array_equal(again.predict([0.3, 0.4]).fields["u"], expected)
        fleet.redis.stop()
        fleet.redis.start()
        np.testing.assert_array_equal(again.predict([0.3, 0.4]).fields["u"], expected)
        assert again.observe(0.3, {"u": _FRAMES[3]}).sequence == 2
        again.close()
    fleet.gateway.start()


def test_a_session_survives_the_worker_that_runs_its_call(fleet: Fleet) -> None:
    with Client(fleet.gateway.http, timeout=60) as client:
        expected = _long_call(client)
        thread, answers = _aside(lambda: _long_call(client))
        name = poll_until(lambda: next(iter(fleet.holders().values()), ""), "a job of the call")
        killed = next(worker for worker in fleet.workers if worker.name == name)
        killed.kill()
        thread.join()
        # To the bit: what a worker had not answered was answered by the other from the start.
        np.testing.assert_array_equal(answers[0], expected)

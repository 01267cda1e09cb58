"""The fleet that measurements and tests start for themselves."""

import re

import pytest

from certisolve import Client
from certisolve_server.bench import local_fleet, local_redis


@pytest.fixture(scope="module")
def fleet(small_models):
    with local_fleet(small_models, worker_options=["--load", "double"]) as running:
        yield running


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_a_fleet_answers_at_the_gateway_as_soon_as_it_is_there(fleet, scheme):
    with Client(fleet.gateway.url(scheme)) as client:
        assert client.solve("double", {"u0": [0.25] * 16}).fields["u"].tolist() == [0.5] * 16


def test_a_worker_of_the_fleet_can_be_asked_directly(fleet):
    [worker] = fleet.workers
    with Client(worker.http) as client:
        assert client.solve("double", {"u0": [0.25] * 16}).fields["u"].tolist() == [0.5] * 16


def test_nothing_of_a_fleet_outlives_its_context(small_models):
    options = ["--load", "double"]
    with local_redis("always") as redis:
        with local_fleet(small_models, redis=redis, worker_options=options) as fleet:
            processes = [fleet.gateway.process, *(worker.process for worker in fleet.workers)]
        assert [process.poll() for process in processes] == [0, 0]
        assert redis.process.poll() is None
    assert redis.process.poll() == 0


def test_a_process_that_does_not_start_says_why(small_models):
    with (
        pytest.raises(RuntimeError, match=re.escape("--load nothing")),
        local_fleet(small_models, worker_options=["--load", "nothing"]),
    ):
        pass

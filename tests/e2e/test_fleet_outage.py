"""Redis is out of reach: everyone says so, nobody falls over, and all of it heals by itself."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import httpx
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from certisolve import Client, RetryPolicy, Unavailable
from fleet import Fleet, Process, poll_until, run_fleet, work_lasting
from ledger import Ledger
from redis_server import RedisServer

_BODY = {"inputs": {"u0": [1.0] * 16}}
_HEALED_S = 10.0


@pytest.fixture(scope="module")
def fleet(fleet_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    directory = tmp_path_factory.mktemp("outage") / "fleet"
    with run_fleet(fleet_models, directory, options=("--lease-s", "2")) as fleet:
        yield fleet


@pytest.fixture(params=["killed", "stopped"])
def outage(request: pytest.FixtureRequest, fleet: Fleet) -> Iterator[Fleet]:
    """Redis refuses connections, or accepts them and says nothing; back after the test."""
    if request.param == "killed":
        fleet.redis.stop(signal.SIGKILL)
    else:
        fleet.redis.signal(signal.SIGSTOP)
    yield fleet
    if request.param == "killed":
        fleet.redis.start()
    else:
        fleet.redis.signal(signal.SIGCONT)
    processes = fleet.processes
    for process in processes:
        poll_until(lambda process=process: _ready(process) == 200, "readiness", _HEALED_S)
    response = _solve(fleet.gateway)
    assert (response.status_code, response.json()["fields"]["u"]) == (200, [2.0] * 16)
    assert [process.num_starts for process in processes] == [1] * len(processes)


def _solve(process: Process) -> httpx.Response:
    return httpx.post(f"{process.http}/v1/models/double/solve", json=_BODY, timeout=30)


def _ready(process: Process) -> int:
    return httpx.get(f"{process.http}/health/ready", timeout=10).status_code


def _served(process: Process) -> int:
    with grpc.insecure_channel(process.authority) as channel:
        check = health_pb2_grpc.HealthStub(channel).Check
        return int(check(health_pb2.HealthCheckRequest(), timeout=10).status)


def test_solves_are_refused_with_a_reason_and_when_to_come_back(outage: Fleet) -> None:
    response = _solve(outage.gateway)
    problem = response.json()
    assert (response.status_code, problem["code"]) == (503, "queue_unavailable")
    assert response.headers["content-type"] == "application/problem+json"
    assert int(response.headers["retry-after"]) >= 1
    assert outage.redis.url in problem["detail"]
    once = RetryPolicy(max_attempts=1)
    with (
        Client(outage.gateway.grpc, retry=once) as client,
        pytest.raises(Unavailable) as caught,
    ):
        client.solve("double", {"u0": np.ones(16, np.float32)})
    assert (caught.value.code, caught.value.retry_after_s) == ("queue_unavailable", 1.0)


def test_a_gateway_lives_but_is_not_ready(outage: Fleet) -> None:
    gateway = outage.gateway
    poll_until(lambda: _ready(gateway) == 503, "the gateway to notice", 20)
    ready = httpx.get(f"{gateway.http}/health/ready", timeout=10).json()
    assert ready["status"] == "unavailable"
    assert outage.redis.url in ready["reason"]
    assert _served(gateway) == health_pb2.HealthCheckResponse.NOT_SERVING
    assert httpx.get(f"{gateway.http}/health/live", timeout=1).status_code == 200
    assert "certisolve_requests" in httpx.get(f"{gateway.http}/metrics", timeout=10).text
    assert httpx.get(f"{gateway.http}/v1/models", timeout=1).json()["models"]


def test_a_worker_answers_direct_calls_all_the_same(outage: Fleet) -> None:
    u0 = np.arange(16, dtype=np.float32)
    for url in (outage.worker.http, outage.worker.grpc):
        with Client(url, retry=RetryPolicy(max_attempts=1)) as client:
            started_at = time.monotonic()
            assert np.array_equal(client.solve("double", {"u0": u0}).fields["u"], 2 * u0)
            assert time.monotonic() - started_at < 2.0
    assert httpx.get(f"{outage.worker.http}/health/live", timeout=1).status_code == 200


def test_a_job_that_runs_through_an_outage_is_answered_once(fleet: Fleet) -> None:
    u0 = work_lasting(2.0, fleet.gateway)
    with Client(fleet.gateway.http, timeout=60) as client:
        job = client.submit_solve("work", {"u0": u0})
        poll_until(lambda: job.status() == "running", "the job to run")
        fleet.redis.stop(signal.SIGKILL)
        poll_until(lambda: _ready(fleet.gateway) == 503, "the gateway to notice", 20)
        fleet.redis.start()
        assert np.array_equal(job.wait(30).fields["u"], u0)
    assert Ledger(fleet.redis.directory).jobs[job.id].ends == ["succeeded"]


@pytest.mark.parametrize("command", ["gateway", "worker"])
def test_a_redis_that_may_drop_keys_is_refused_with_the_fix(
    command: str, fleet_models: Path, tmp_path: Path
) -> None:
    evicting = ("--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru")
    with RedisServer(tmp_path, evicting) as redis:
        options = ["--broker", redis.url, "--port", "0", "--grpc-port", "0"]
        options += ["--models", str(fleet_models)] if command == "worker" else []
        done = subprocess.run(
            [sys.executable, "-m", "certisolve_server", command, *options],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 1
    assert "config set maxmemory-policy noeviction" in done.stderr
    assert "Traceback" not in done.stderr

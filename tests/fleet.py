"""A fleet of real processes around a real Redis, each of which can die and come back."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import httpx
import numpy as np
import pytest
import redis

from certisolve import Client
from certisolve_server.broker.redis.segments import Segments
from ports import free_port
from redis_server import DURABLE, RedisServer

T = TypeVar("T")
_COMMAND = ("-m", "certisolve_server")
_BANNER = re.compile(r"HTTP +http://\S+.*gRPC +\S+", re.DOTALL)
_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 15.0
_POLL_S = 0.02


class Process:
    """A gateway or a worker, on the same ports whenever it starts again.

    Arguments:
        name: of the process in its fleet.
        command: what follows the interpreter.
        logs: the folder that holds what it says, one file per start.
        env: added to the environment, from which settings of the service are left out.

    Attributes:
        num_starts: how often it was started.
    """

    def __init__(
        self, name: str, command: Sequence[str], logs: Path, env: Mapping[str, str]
    ) -> None:
        self.name = name
        self.num_starts = 0
        self._port, self._grpc_port = free_port(), free_port()
        ports = ("--port", str(self._port), "--grpc-port", str(self._grpc_port))
        self._command = [sys.executable, *command, "--name", name, *ports]
        self._logs = logs
        self._env = dict(env)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def http(self) -> str:
        """Where it speaks HTTP."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def authority(self) -> str:
        """Where it speaks gRPC, as a channel wants it."""
        return f"127.0.0.1:{self._grpc_port}"

    @property
    def grpc(self) -> str:
        """Where it speaks gRPC, as the SDK wants it."""
        return f"grpc://{self.authority}"

    def launch(self) -> None:
        """Start, or start again; returns at once."""
        assert self._process is None, f"{self.name} is running"
        self.num_starts += 1
        env = {name: text for name, text in os.environ.items() if not name.startswith("CERTISOLVE")}
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command, stdout=log, stderr=subprocess.STDOUT, env=env | self._env
            )

    def wait_until_ready(self) -> None:
        """Return once it answers requests."""
        poll_until(lambda: self.is_ready or not self.is_running, f"{self.name} to be ready")
        if not self.is_ready:
            pytest.fail(f"{self.name} did not start:\n{self.said()}")

    def start(self) -> None:
        """Start, and return once it answers requests."""
        self.launch()
        self.wait_until_ready()

    @property
    def is_ready(self) -> bool:
        """Whether it has said so since its last start."""
        return self._process is not None and bool(_BANNER.search(self.said()))

    @property
    def is_running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Of the process that runs."""
        assert self._process is not None
        return self._process.pid

    def said(self) -> str:
        """What it has written since its last start."""
        return self._log.read_text(errors="replace")

    def signal(self, number: int) -> None:
        """Send a signal, such as SIGSTOP."""
        assert self._process is not None
        self._process.send_signal(number)

    def wait(self, timeout_s: float = _STOP_TIMEOUT_S) -> int:
        """Wait for its end; the exit status."""
        assert self._process is not None
        status = self._process.wait(timeout_s)
        self._process = None
        return status

    def kill(self) -> None:
        """End it as a crash would."""
        self.signal(signal.SIGKILL)
        self.wait()

    def stop(self) -> int:
        """End it as an operator would; the exit status."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def close(self) -> None:
        """End it, whatever state it is in."""
        if self._process is None:
            return
        self.signal(signal.SIGCONT)
        try:
            self.wait()
        except subprocess.TimeoutExpired:
            self.kill()

    def metric(self, series: str) -> float:
        """The value of a series, `certisolve_fenced_answers_total`; 0 while it is not there."""
        text = httpx.get(f"{self.http}/metrics", timeout=10).text
        found = re.search(rf"^{re.escape(series)} (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    @property
    def _log(self) -> Path:
        return self._logs / f"{self.name}.{self.num_starts}.log"


@dataclass(frozen=True)
class Fleet:
    """Processes around one queue.

    Attributes:
        redis: the queue.
        queue: prefix of its keys.
    """

    redis: RedisServer
    queue: str
    gateways: tuple[Process, ...]
    workers: tuple[Process, ...]

    @property
    def gateway(self) -> Process:
        """The first gateway."""
        return self.gateways[0]

    @property
    def worker(self) -> Process:
        """The first worker."""
        return self.workers[0]

    @property
    def processes(self) -> tuple[Process, ...]:
        """All but Redis."""
        return (*self.workers, *self.gateways)

    @property
    def segments(self) -> Segments:
        """Shared memory, as the processes of this fleet see it."""
        return Segments(f"{self.redis.url} {self.queue}")

    def segment_paths(self) -> list[Path]:
        """The segments that exist."""
        reference = self.segments.write("probe", "in", [b"0"])
        assert reference is not None, "no shared memory here"
        self.segments.remove(reference)
        prefix = reference.decode().removeprefix("@shm:").partition("-probe-")[0]
        return sorted(Path("/dev/shm").glob(f"{prefix}-*"))

    def wait_until_complete(self) -> None:
        """Return once every gateway sees every worker that runs."""
        alive = {worker.name for worker in self.workers if worker.is_running}
        for gateway in self.gateways:
            poll_until(
                lambda gateway=gateway: alive <= seen_workers(gateway),
                f"{gateway.name} to see {sorted(alive)}",
            )

    def holders(self) -> dict[str, str]:
        """The jobs in the hands of workers, and whose."""
        with redis.Redis.from_url(self.redis.url) as client:
            jobs = [job.decode() for job in client.zrange(f"{{{self.queue}}}:leases", 0, -1)]
            found = {job: client.hget(f"{{{self.queue}}}:job:{job}", "worker") for job in jobs}
        # A worker is known to the queue by its name and what tells its starts apart.
        return {job: who.decode().rpartition(".")[0] for job, who in found.items() if who}

    def holder(self, job_id: str) -> Process:
        """The worker that has a job in its hands, as soon as one does."""
        name = poll_until(lambda: self.holders().get(job_id), f"a worker to claim {job_id}")
        return next(worker for worker in self.workers if worker.name == name)

    def operate(self, *arguments: str) -> str:
        """What `certisolve queue` prints."""
        where = ("--broker", self.redis.url, "--queue", self.queue)
        command = [sys.executable, *_COMMAND, "queue", *arguments, *where]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout


@contextlib.contextmanager
def run_fleet(
    models: Path,
    directory: Path,
    *,
    gateways: int = 1,
    workers: int = 1,
    options: Sequence[str] = (),
    worker_options: Sequence[str] = (),
    worker_program: Sequence[str] = _COMMAND,
    redis_options: Sequence[str] = DURABLE,
    env: Mapping[str, str] | None = None,
) -> Iterator[Fleet]:
    """A fleet that is complete, until the context ends.

    Args:
        models: repository of the workers.
        directory: for the files of Redis and the logs.
        gateways: how many.
        workers: how many, one compute thread each.
        options: of gateways and workers.
        worker_options: of workers alone.
        worker_program: what runs the command line of a worker.
        redis_options: of redis-server.
        env: of gateways and workers.
    """
    (directory / "redis").mkdir(parents=True)
    redis = RedisServer(directory / "redis", redis_options)
    shared = ("--broker", redis.url, "--log-format", "json", *options)
    compute = ("--models", str(models), "--device", "cpu", "--num-threads", "1")
    fleet = Fleet(
        redis,
        "certisolve",
        tuple(
            Process(f"gateway-{i}", (*_COMMAND, "gateway", *shared), directory, env or {})
            for i in range(gateways)
        ),
        tuple(
            Process(
                f"worker-{i}",
                (*worker_program, "worker", *shared, *compute, *worker_options),
                directory,
                env or {},
            )
            for i in range(workers)
        ),
    )
    with redis:
        try:
            for process in fleet.processes:
                process.launch()
            for process in fleet.processes:
                process.wait_until_ready()
            fleet.wait_until_complete()
            yield fleet
        finally:
            _close(fleet)


def seen_workers(gateway: Process) -> set[str]:
    """The workers that a gateway believes to serve some model."""
    models = httpx.get(f"{gateway.http}/v1/models", timeout=10).json()["models"]
    return {worker["name"] for model in models for worker in model["workers"]}


def work_lasting(seconds: float, gateway: Process) -> "np.ndarray":
    """An input that keeps a worker of the model `work` busy for about so long."""
    probe = np.ones(1024, np.float32)
    with Client(gateway.http) as client:
        took_s = min(client.solve("work", {"u0": probe}).timings_ms.compute for _ in range(3)) / 1e3
    return np.arange(int(1024 * (seconds / took_s) ** (1 / 3)), dtype=np.float32)


def poll_until(condition: Callable[[], T], what: str, timeout_s: float = _START_TIMEOUT_S) -> T:
    """What `condition` returns, as soon as that is true."""
    give_up_at = time.monotonic() + timeout_s
    while not (result := condition()):
        if time.monotonic() > give_up_at:
            pytest.fail(f"waited {timeout_s:g} s for {what}")
        time.sleep(_POLL_S)
    return result


def _close(fleet: Fleet) -> None:
    for process in fleet.processes:
        if process.is_running:
            process.signal(signal.SIGTERM)
    for process in fleet.processes:
        process.close()
    for path in fleet.segment_paths():
        path.unlink(missing_ok=True)

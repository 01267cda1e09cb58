"""`make up-local` for real: Redis, a gateway and two workers as plain processes."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from compose_file import read_services

ROOT = Path(__file__).parents[2]
_COMMAND = [sys.executable, str(ROOT / "tools" / "up_local.py")]
_MARK = "UP_LOCAL_TEST"
_UP_S = 90.0


@dataclass
class Running:
    """A started set.

    Attributes:
        mark: in the environment of every process of the set.
        lines: what it has printed so far.
    """

    process: "subprocess.Popen[str]"
    ports: dict[str, int]
    mark: str
    lines: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports['GATEWAY_PORT']}"

    @property
    def said(self) -> str:
        return "".join(self.lines)

    def pids(self, service: str) -> list[int]:
        """Of every start of a service, oldest first."""
        return [
            int(pid) for pid in re.findall(rf"^{service} +\| started pid=(\d+)", self.said, re.M)
        ]

    def left(self) -> list[int]:
        """Processes of the set that live; Redis writes over its environment, so by number too."""
        announced = map(int, re.findall(r"\| started pid=(\d+)", self.said))
        return sorted({*filter(self._has_a_port, announced), *marked(self.mark)})

    def _has_a_port(self, pid: int) -> bool:
        try:
            command = Path(f"/proc/{pid}/cmdline").read_text()
        except OSError:
            return False
        return any(str(port) in command for port in self.ports.values())

    def read(self) -> None:
        assert self.process.stdout is not None
        self.lines.extend(self.process.stdout)

    def solve(self) -> httpx.Response:
        u0 = [float(x) for x in range(16)]
        body = {"inputs": {"u0": u0}, "options": {"diagnostics": False}}
        return httpx.post(f"{self.url}/v1/models/double/solve", json=body, timeout=60)


@contextmanager
def up_local(models: Path, data: Path) -> Iterator[Running]:
    """The set on free ports."""
    ports, mark = free_ports(), uuid.uuid4().hex
    variables = {name: str(port) for name, port in ports.items()}
    env = {**os.environ, **variables, _MARK: mark, "CERTISOLVE_MODELS": str(models)}
    process = subprocess.Popen(
        [*_COMMAND, "--data", str(data)],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    running = Running(process, ports, mark)
    reader = threading.Thread(target=running.read)
    reader.start()
    try:
        yield running
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(60)
        finally:
            process.kill()
            for pid in running.left():
                os.kill(pid, signal.SIGKILL)
            reader.join()
            process.communicate()  # closes the pipe


def free_ports() -> dict[str, int]:
    """A free port for every variable that moves one."""
    services = read_services(ROOT / "docker-compose.yml", {})
    names = [port.variable for service in services for port in service.ports]
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in names]
        return {name: probe.getsockname()[1] for name, probe in zip(names, probes, strict=True)}


def marked(mark: str) -> list[int]:
    """Processes that live and were started by the set with this mark."""
    wanted = f"{_MARK}={mark}".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environment = (folder / "environ").read_bytes().split(b"\0")
            state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:  # it ended meanwhile
            continue
        if wanted in environment and state != "Z":
            found.append(int(folder.name))
    return found


def wait_until(ready: Callable[[], bool], running: Running, timeout_s: float = _UP_S) -> None:
    give_up_at = time.monotonic() + timeout_s
    while not ready():
        assert running.process.poll() is None, running.said
        assert time.monotonic() < give_up_at, running.said
        time.sleep(0.1)


def answers(running: Running, variable: str) -> bool:
    """Whether the process on that port says that it is ready."""
    url = f"http://127.0.0.1:{running.ports[variable]}/health/ready"
    try:
        return httpx.get(url, timeout=10).status_code == 200
    except httpx.HTTPError:
        return False


def ready(running: Running) -> bool:
    """Whether both workers have proved the model."""
    try:
        models = httpx.get(f"{running.url}/v1/models", timeout=10).json()["models"]
    except (httpx.HTTPError, ValueError, KeyError):
        return False
    workers = {w["name"] for m in models if m["name"] == "double" for w in m["workers"]}
    return workers == {"worker-1", "worker-2"}


@pytest.fixture(scope="module")
def running(small_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    if shutil.which("redis-server") is None:
        pytest.fail("no redis-server on PATH: run `make test`, which brings one")
    helps = subprocess.run(
        [Path(sys.executable).with_name("certisolve"), "gateway", "--help"],
        capture_output=True,
        check=False,
    )
    if helps.returncode:
        pytest.skip("`certisolve gateway --help` fails")
    with up_local(small_models, tmp_path_factory.mktemp("up")) as started:
        wait_until(lambda: ready(started), started)
        yield started


def test_a_solve_through_the_gateway_is_answered_by_a_worker(running: Running) -> None:
    response = running.solve()
    assert response.status_code == 200, response.text
    assert response.json()["fields"]["u"] == [2.0 * x for x in range(16)]


def test_every_process_shows_its_metrics_where_prometheus_looks(running: Running) -> None:
    for variable in ("GATEWAY_PORT", "WORKER_1_PORT", "WORKER_2_PORT"):
        text = httpx.get(f"http://127.0.0.1:{running.ports[variable]}/metrics", timeout=10).text
        assert "# TYPE nv_inference_count counter" in text
        assert "certisolve_queue_depth 0.0" in text


def test_a_killed_worker_comes_back_and_solves_go_on(running: Running) -> None:
    [*_, pid] = running.pids("worker-1")
    os.kill(pid, signal.SIGKILL)
    for _ in range(3):
        assert running.solve().status_code == 200
    wait_until(lambda: running.pids("worker-1")[-1] != pid, running)
    assert "worker-1 | ended code=-9" in re.sub(r" +\|", " |", running.said)
    wait_until(lambda: answers(running, "WORKER_1_PORT"), running)
    assert running.solve().status_code == 200


def test_a_second_set_on_the_same_ports_is_refused_by_name(running: Running) -> None:
    env = os.environ | {name: str(port) for name, port in running.ports.items()}
    run = subprocess.run(
        [*_COMMAND, "--check"], env=env, capture_output=True, text=True, check=False
    )
    assert run.returncode == 1
    port = running.ports["REDIS_PORT"]
    assert f"port {port} of redis is taken; stop what holds it or set REDIS_PORT" in run.stderr


def test_ctrl_c_stops_everything_redis_last_and_leaves_no_process(running: Running) -> None:
    assert len(running.left()) >= 5  # four services and what started them
    running.process.send_signal(signal.SIGINT)
    assert running.process.wait(60) == 0, running.said
    assert running.left() == []
    ended = re.findall(r"^(\S+) +\| ended code=(-?\d+)", running.said, re.M)[-4:]
    assert ended[-1] == ("redis", "0")
    assert {name for name, _ in ended} == {"redis", "gateway", "worker-1", "worker-2"}
    assert "killed" not in running.said

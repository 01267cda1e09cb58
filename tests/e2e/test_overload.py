"""Ten times more than a fleet can do: it refuses what it cannot do, and does the rest in time."""

import asyncio
import contextlib
import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import NamedTuple

import httpx
import numpy as np
import pytest
import torch

from certisolve_server.bench import (
    UNANSWERED,
    AbstractConnection,
    AbstractDoor,
    Answer,
    Bounds,
    Load,
    LocalFleet,
    Measurement,
    SolveInputs,
    local_fleet,
    local_redis,
    measure,
    percentiles_ms,
    summarise,
)
from certisolve_server.bench.http_door import HttpDoor
from helpers import Pointwise, field_manifest, write_artifact

_LIVENESS = Path(__file__).parents[1] / "liveness.py"
_MAX_QUEUED = 32
_OVERLOAD = 10.0
_DEADLINE_MS = 2000
#: More than are ever under way when refusals come at once: the queue's bound and those in between.
_NUM_CONNECTIONS = 256
#: What a process may grow by under a steady load: arenas of allocators and caches still filling.
_ALLOWANCE_BYTES = 24 << 20
_SAMPLE_S = 0.25
_IDLE_S = 2.0
_PREDICTION = re.compile(r"expect room in [0-9.]+ s\b")
_ACCOUNT = re.compile(r"[0-9.]+ s in the queue")


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalFleet]:
    root = tmp_path_factory.mktemp("overload-models")
    write_artifact(root, Pointwise(_work), field_manifest("work", max_batch_size=4))
    bounds = ["--max-queued-requests", str(_MAX_QUEUED), "--log-level", "warning"]
    with (
        local_redis("always") as redis,
        local_fleet(
            root, redis=redis, options=bounds, worker_options=["--num-threads", "1"]
        ) as running,
    ):
        yield running


def test_overload_is_refused_with_a_prediction_and_the_rest_is_answered_in_time(fleet):
    overloaded = _overload(fleet, duration_s=3.0, settled_after_s=1.0)
    overloaded.report()
    _check(overloaded)


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_long_overload_costs_neither_memory_nor_signs_of_life(fleet):
    overloaded = _overload(fleet, duration_s=20.0, settled_after_s=5.0)
    overloaded.report()
    _check(overloaded)
    # Who probes for signs of life gives up after a second.
    assert overloaded.live_p99_ms < 250.0


def _work(u: torch.Tensor) -> torch.Tensor:
    """Some tens of milliseconds of arithmetic that leave u as it was."""
    matrix = torch.eye(512)
    for _ in range(8):
        matrix = matrix @ matrix
    return u * matrix[0, 0]


# --- What came of it ------------------------------------------------------------------------------


@dataclass
class Overloaded:
    """What a fleet made of an overload.

    Attributes:
        capacity: solves per second when the callers wait for each other.
        measured: all answers, and the latencies of the good ones.
        replies: what came back besides solutions.
        growth: bytes of memory by process, from when it had settled to the most it had after.
        live_p99_ms: of the answers of `/health/live` meanwhile, on a connection of its own.
        left: jobs in the queue afterwards.
    """

    capacity: float
    measured: Measurement
    replies: "list[Reply]"
    growth: dict[str, int]
    live_p99_ms: float
    left: float

    def report(self) -> None:
        """For who reads the log of the test."""
        summary = summarise(self.measured)
        growth = {name: f"{size / 2**20:+.1f} MiB" for name, size in self.growth.items()}
        print(  # noqa: T201
            f"capacity {self.capacity:.0f}/s; {summary.num_requests} requests in "
            f"{summary.duration_s:.1f} s: {summary.num_ok} answered ({summary.throughput:.0f}/s, "
            f"p50 {summary.p50_ms:.0f} ms, p99 {summary.p99_ms:.0f} ms), {dict(summary.errors)}; "
            f"memory {growth}; /health/live p99 {self.live_p99_ms:.1f} ms"
        )


def _check(overloaded: Overloaded) -> None:
    codes = overloaded.measured.codes
    assert codes["ok"] > 0
    assert codes["queue_full"] > codes["ok"], "it was no overload"
    # Each request has one answer, and what was accepted was done, or the deadline said otherwise.
    assert set(codes) <= {"ok", "queue_full", "deadline_exceeded"}, codes
    assert codes[UNANSWERED] == 0
    assert overloaded.left == 0
    assert codes["deadline_exceeded"] <= 0.01 * codes["ok"]
    for reply in overloaded.replies:
        _check_problem(reply)
    assert max(overloaded.growth.values()) < _ALLOWANCE_BYTES, overloaded.growth


def _check_problem(reply: "Reply") -> None:
    assert reply.headers["content-type"] == "application/problem+json"
    problem = json.loads(reply.body)
    assert problem["status"] == reply.status
    if reply.status == HTTPStatus.TOO_MANY_REQUESTS:
        assert int(reply.headers["retry-after"]) >= 1
        assert _PREDICTION.search(problem["detail"]), problem
    else:
        assert reply.status == HTTPStatus.GATEWAY_TIMEOUT
        assert _ACCOUNT.search(problem["detail"]), problem


# --- How it is made -------------------------------------------------------------------------------


def _overload(fleet: LocalFleet, *, duration_s: float, settled_after_s: float) -> Overloaded:
    door = Door(fleet.gateway.http)
    fields = np.random.default_rng(0).uniform(0.1, 0.9, (4, 16)).astype(np.float32)
    requests = [door.prepare("work", None, SolveInputs({"u0": row}, {})) for row in fields]
    # A closed loop of fewer than the queue takes: nothing is refused, the device is never idle.
    calm = measure(door, requests, Load(_MAX_QUEUED // 2, Bounds(1.5, 100_000)))
    capacity = summarise(calm).throughput
    door.replies.clear()
    rate = _OVERLOAD * capacity
    load = Load(_NUM_CONNECTIONS, Bounds(duration_s, 500_000), rate, warm_up_s=0.0)
    with _liveness(fleet, duration_s) as live, _memory(fleet, settled_after_s) as memory:
        measured = measure(door, requests, load)
        took_s = json.loads(live.communicate(timeout=60)[0])
    [live_p99_ms] = percentiles_ms(took_s, (99,))
    return Overloaded(
        capacity, measured, door.replies, memory.growth(), live_p99_ms, _num_queued(fleet)
    )


def _num_queued(fleet: LocalFleet) -> float:
    text = httpx.get(f"{fleet.gateway.http}/metrics", timeout=10).text
    found = re.search(r"^certisolve_queue_depth (\S+)$", text, re.MULTILINE)
    assert found is not None
    return float(found[1])


@contextlib.contextmanager
def _liveness(fleet: LocalFleet, duration_s: float) -> Iterator["subprocess.Popen[str]"]:
    url = f"{fleet.gateway.http}/health/live"
    command = [sys.executable, "-S", str(_LIVENESS), url, str(duration_s)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


@contextlib.contextmanager
def _memory(fleet: LocalFleet, settled_after_s: float) -> Iterator["Memory"]:
    pids = {
        "gateway": fleet.gateway.process.pid,
        "worker": fleet.workers[0].process.pid,
        "redis": fleet.redis.process.pid,
    }
    memory = Memory(pids, settled_after_s)
    memory.thread.start()
    try:
        yield memory
    finally:
        memory.over.set()
        memory.thread.join()


class Memory:
    """Watches how much memory processes have.

    Arguments:
        pids: by name.
        settled_after_s: seconds until what is there counts as what they need.
    """

    def __init__(self, pids: dict[str, int], settled_after_s: float) -> None:
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._watch, name="memory", daemon=True)
        self._pids = pids
        self._settled_after_s = settled_after_s
        self._samples: dict[str, list[int]] = {name: [] for name in pids}

    def growth(self) -> dict[str, int]:
        """The most of each process above what it had when it had settled."""
        return {name: max(sizes) - sizes[0] for name, sizes in self._samples.items()}

    def _watch(self) -> None:
        pause_s = self._settled_after_s
        while not self.over.wait(pause_s):
            for name, pid in self._pids.items():
                self._samples[name].append(_resident_bytes(pid))
            pause_s = _SAMPLE_S


def _resident_bytes(pid: int) -> int:
    text = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"^VmRSS:\s+(\d+) kB$", text, re.MULTILINE)
    assert found is not None
    return int(found[1]) << 10


class Reply(NamedTuple):
    """An answer that is no solution."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass
class Door(AbstractDoor):
    """HTTP with a deadline, which keeps what was refused."""

    url: str
    replies: list[Reply] = field(default_factory=list)

    def prepare(self, model: str, version: str | None, inputs: SolveInputs) -> bytes:
        request = HttpDoor(*self._address).prepare(model, version, inputs)
        deadline = f"\r\nCertisolve-Deadline-Ms: {_DEADLINE_MS}\r\nContent-Type:"
        return request.replace(b"\r\nContent-Type:", deadline.encode(), 1)

    async def connect(self) -> "Connection":
        connection = Connection(*self._address, self.replies)
        await connection.open()
        return connection

    @property
    def _address(self) -> tuple[str, int]:
        url = httpx.URL(self.url)
        assert url.port is not None
        return url.host, url.port


class Connection(AbstractConnection):
    """One keep-alive connection, opened anew when it has been idle for longer than servers like."""

    def __init__(self, host: str, port: int, replies: list[Reply]) -> None:
        self._host, self._port = host, port
        self._replies = replies

    async def open(self) -> None:
        self._reader, self._writer = await asyncio.open_connection(self._host, self._port)
        self._used_at = time.monotonic()

    async def send(self, request: bytes) -> Answer:
        if time.monotonic() - self._used_at > _IDLE_S:
            await self.aclose()
            await self.open()
        self._writer.write(request)
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        status, *lines = head.strip().split("\r\n")
        headers = {name.lower(): text for name, text in (line.split(": ", 1) for line in lines)}
        body = await self._reader.readexactly(int(headers["content-length"]))
        self._used_at = time.monotonic()
        if status.split()[1] == "200":
            return Answer("ok", 1)
        self._replies.append(Reply(int(status.split()[1]), headers, body))
        return Answer(str(json.loads(body)["code"]))

    async def aclose(self) -> None:
        self._writer.close()

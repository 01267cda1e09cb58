"""What the hop through Redis and a separate worker costs: the measurement behind queue.py."""

import argparse
import contextlib
import math
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import redis
import torch
from cpu import cpu_s
from identity_model import write_identity
from publish import write_section
from report import QUIET, is_busy, markdown, processor, table, verdict
from rich.console import Console
from wrk import run_wrk, wrk_is_here

from certisolve import Client
from certisolve_server.bench import (
    Bounds,
    Load,
    LocalRedis,
    LocalServer,
    draw_inputs,
    local_fleet,
    local_redis,
    local_server,
    measure,
    open_door,
    summarise,
)
from certisolve_server.broker.redis.segments import Segments

CONNECTIONS = (1, 32)
NUM_INPUTS = 16
_WARM_UP_S = 0.3
_SETTLE_POLL_S = 0.05
#: Columns of the table where there is no terminal to ask.
_WIDTH = 150
#: Solves per second of Triton's Python backend in a run of its own, on two cores, by wrk.
TRITON = 2100.0
TARGET_RATIO = 1.3
#: What the machine does with its time, in the order of the table.
ROLES = ("doors", "worker", "Redis", "client")


class Field(NamedTuple):
    """What is sent and comes back."""

    model: str
    sizes: dict[str, int]
    text: str


class Way(NamedTuple):
    """How a solve gets to the device and back.

    Attributes:
        name: for people.
        server: asked.
        pids: of the processes that take part, by role.
        appendfsync: of Redis; empty where it takes no part.
        fields: models that go this way.
        clients: that ask.
    """

    name: str
    server: LocalServer
    pids: Mapping[str, int]
    appendfsync: str
    fields: Sequence[str]
    clients: Sequence[str]


class Run(NamedTuple):
    """One measurement."""

    field: str
    way: str
    client: str
    num_connections: int


class Seen(NamedTuple):
    """What one run, or the median of several, came to; NaN where it was not measured.

    Attributes:
        cpu_us: CPU microseconds per solve, by role.
    """

    throughput: float
    p50_ms: float
    p99_ms: float
    cpu_us: tuple[float, ...]


FIELDS = (
    Field("identity-64", {"y": 64, "x": 64}, "16 KiB"),
    Field("identity-512", {"y": 512, "x": 512}, "1 MiB"),
)
SMALL, LARGE = (each.model for each in FIELDS)
EMBEDDED, DIRECT = "`certisolve serve`", "worker, directly"
INLINE, SHARED = "Redis", "Redis, fields in shared memory"
_DURABLE, _DEPLOYED = "always", "everysec"


def main() -> None:
    """Measure, print, and write where asked to."""
    arguments = _arguments()
    console = Console(highlight=False, width=None if sys.stdout.isatty() else _WIDTH)
    if is_busy():
        console.print(f"[yellow]load average {os.getloadavg()[0]:.1f}: the machine is busy[/]")
        if arguments.write:
            sys.exit(f"nothing is published from a busy machine (load average above {QUIET})")
    seen = _measure(arguments, console)
    conditions, rows, targets = _conditions(arguments), list(_rows(seen)), _targets(seen)
    console.print(conditions)
    console.print(table(HEADINGS, rows))
    for line in targets:
        console.print(line)
    if arguments.write:
        write_section("queue", [conditions, "", *markdown(HEADINGS, rows), "", *targets])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="put the table into README.md")
    parser.add_argument("--repeats", type=int, default=5, help="interleaved; medians are printed")
    parser.add_argument("--duration", type=float, default=2.0, help="seconds of each run")
    parser.add_argument("--only", default="", help="part of a way's name or of a field's size")
    return parser.parse_args()


# --- What is measured -----------------------------------------------------------------------------


def _measure(arguments: argparse.Namespace, console: Console) -> dict[Run, list[Seen]]:
    seen: dict[Run, list[Seen]] = {}
    with contextlib.ExitStack() as stack:
        repository = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for each in FIELDS:
            write_identity(repository, each.model, each.sizes)
        with console.status("starting"):
            redis_server = stack.enter_context(local_redis())
            ways = list(_ways(repository, redis_server, stack))
        status = stack.enter_context(console.status("measuring"))
        for repeat in range(arguments.repeats):
            for run, way in _runs(ways, arguments.only):
                status.update(f"repeat {repeat + 1} of {arguments.repeats}: {run}")
                if way.appendfsync:
                    _settle(redis_server, way.appendfsync)
                seen.setdefault(run, []).append(_run(way, run, arguments.duration))
    return seen


def _ways(repository: Path, redis_server: LocalRedis, stack: contextlib.ExitStack) -> Iterator[Way]:
    ours = ("HTTP", *(["HTTP, wrk"] if wrk_is_here() else []))
    both = (SMALL, LARGE)
    embedded = stack.enter_context(local_server(repository))
    yield Way(EMBEDDED, embedded, {"doors": embedded.process.pid}, "", both, (*ours, "gRPC"))
    for name, shared_memory, models in ((INLINE, False, both), (SHARED, True, (LARGE,))):
        queue = f"shared-{shared_memory}"
        stack.callback(_remove_segments, redis_server.url, queue)
        fleet = stack.enter_context(
            local_fleet(
                repository,
                redis=redis_server,
                queue=queue,
                shared_memory=shared_memory,
            )
        )
        worker = fleet.workers[0]
        pids = {
            "doors": fleet.gateway.process.pid,
            "worker": worker.process.pid,
            "Redis": redis_server.process.pid,
        }
        if not shared_memory:
            yield Way(DIRECT, worker, {"worker": worker.process.pid}, "", both, (ours[0], "gRPC"))
        for appendfsync in (_DEPLOYED, _DURABLE):
            way = f"{name}, fsync {appendfsync}"
            yield Way(way, fleet.gateway, pids, appendfsync, models, ours)


def _runs(ways: Sequence[Way], only: str) -> Iterator[tuple[Run, Way]]:
    for each in FIELDS:
        for way in ways:
            if each.model in way.fields and only in f"{way.name} {each.text}":
                for client in way.clients:
                    for num_connections in CONNECTIONS:
                        yield Run(each.model, way.name, client, num_connections), way


def _remove_segments(url: str, queue: str) -> None:
    """Remove what was under way when the last run ended, which no process is left to sweep."""
    segments = Segments(f"{url} {queue}")
    reference = segments.write("probe", "in", [b"probe"])
    if reference is None:
        return
    name, _, _ = reference.decode().removeprefix("@shm:").partition("probe-in")
    for path in Path("/dev/shm").glob(f"{name}*"):
        path.unlink(missing_ok=True)


def _settle(server: LocalRedis, appendfsync: str) -> None:
    """Set how Redis waits for the disk, and let it finish what the last run left it to write."""
    with redis.Redis.from_url(server.url) as client:
        client.config_set("appendfsync", appendfsync)
        while client.info("persistence")["aof_rewrite_in_progress"]:
            time.sleep(_SETTLE_POLL_S)


def _run(way: Way, run: Run, duration_s: float) -> Seen:
    door = open_door(way.server.grpc if run.client == "gRPC" else way.server.http)
    with Client(way.server.http) as client:
        manifest = client.model(run.field).manifest
    rng = np.random.default_rng(0)
    inputs = [draw_inputs(manifest, {}, rng) for _ in range(NUM_INPUTS)]
    prepared = [door.prepare(run.field, None, each) for each in inputs]
    if run.client == "HTTP, wrk":
        body = prepared[0].partition(b"\r\n\r\n")[2]
        url = f"{way.server.http}/v1/models/{run.field}/solve"
        return Seen(*run_wrk(url, body, run.num_connections, duration_s), _NO_CPU)
    bounds = Bounds(duration_s, 10_000_000)
    measure(door, prepared, Load(run.num_connections, Bounds(_WARM_UP_S, 10_000), warm_up_s=0.0))
    before = _cpu_s(way)
    measured = measure(door, prepared, Load(run.num_connections, bounds, warm_up_s=0.0))
    spent = [now - then for now, then in zip(_cpu_s(way), before, strict=True)]
    summary = summarise(measured)
    if summary.errors:
        raise RuntimeError(f"{run}: {dict(summary.errors)}")
    cpu_us = tuple(1e6 * seconds / summary.num_ok for seconds in spent)
    return Seen(summary.throughput, summary.p50_ms, summary.p99_ms, cpu_us)


def _cpu_s(way: Way) -> list[float]:
    pids = {**way.pids, "client": os.getpid()}
    return [cpu_s(pids[role]) if role in pids else math.nan for role in ROLES]


# --- What is printed ------------------------------------------------------------------------------

HEADINGS = (
    "field",
    "through",
    "client",
    "connections",
    "solves/s",
    "p50 ms",
    "p99 ms",
    "added ms",
    *(f"{role} µs" for role in ROLES),
)
_NO_CPU = (math.nan,) * len(ROLES)


def _rows(seen: dict[Run, list[Seen]]) -> Iterator[tuple[str, ...]]:
    texts = {each.model: each.text for each in FIELDS}
    for run, several in seen.items():
        median = _median(several)
        yield (
            texts[run.field],
            run.way,
            run.client,
            str(run.num_connections),
            f"{median.throughput:.0f}",
            f"{median.p50_ms:.2f}",
            f"{median.p99_ms:.2f}",
            _number(_added_ms(seen, run), 2),
            *(_number(each, 0) for each in median.cpu_us),
        )


def _added_ms(seen: dict[Run, list[Seen]], run: Run) -> float:
    """What one connection waits longer than for the embedded server, in the same run."""
    embedded = run._replace(way=EMBEDDED)
    if run.num_connections > 1 or run.way == EMBEDDED or embedded not in seen:
        return math.nan
    return _median(seen[run]).p50_ms - _median(seen[embedded]).p50_ms


def _median(several: Sequence[Seen]) -> Seen:
    *numbers, cpu_us = zip(*several, strict=True)
    roles = zip(*cpu_us, strict=True)
    return Seen(*map(statistics.median, numbers), tuple(map(statistics.median, roles)))


def _number(value: float, digits: int) -> str:
    return "" if math.isnan(value) else f"{value:.{digits}f}"


def _targets(seen: dict[Run, list[Seen]]) -> list[str]:
    """The promise about the queue beside what was measured, kept or missed."""
    # The client with which the other server was measured.
    client = "HTTP, wrk" if wrk_is_here() else "HTTP"
    target, lines = TARGET_RATIO * TRITON, []
    for appendfsync in (_DEPLOYED, _DURABLE):
        run = Run(SMALL, f"{INLINE}, fsync {appendfsync}", client, CONNECTIONS[-1])
        if run in seen:
            rate = _median(seen[run]).throughput
            lines.append(
                f"Target: at least {target:.0f} solves/s of 16 KiB over 32 connections, "
                f"{TARGET_RATIO:g} times Triton's Python backend, through Redis with fsync "
                f"{appendfsync}. Measured {rate:.0f} by {client}: {verdict(rate >= target)}."
            )
    return lines


def _conditions(arguments: argparse.Namespace) -> str:
    return (
        f"{processor()}, {os.cpu_count()} cores shared by gateway, worker, Redis and client; "
        f"Python {platform.python_version()}, torch {torch.__version__}; append-only file; "
        f"medians of {arguments.repeats} interleaved runs of {arguments.duration:g} s; load "
        f"average at the end {os.getloadavg()[0]:.1f}."
    )

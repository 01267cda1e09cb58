"""How much of a program's speed reaches a client, over HTTP and gRPC, alone and in company."""

import argparse
import itertools
import os
import platform
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from bare import Bare, load_bare, measure_bare
from identity_model import NAME as IDENTITY
from identity_model import SIZES, write_identity
from publish import write_section
from report import is_busy, markdown, processor, table, verdict
from rich.console import Console
from wrk import run_wrk, wrk_is_here

from certisolve import Client
from certisolve_server.bench import (
    Bounds,
    Load,
    LocalServer,
    draw_inputs,
    local_server,
    measure,
    open_door,
    summarise,
)

CONNECTIONS = (1, 32)
NUM_INPUTS = 16
TARGET_RATE = 4000.0
TARGET_P50_MS = 0.45


class Case(NamedTuple):
    """A model at one resolution."""

    model: str
    sizes: dict[str, int]


class Run(NamedTuple):
    """A case through one door; `client` is ours or wrk."""

    case: int
    client: str
    num_connections: int


class Seen(NamedTuple):
    """What one run, or the median of several, came to."""

    throughput: float
    p50_ms: float
    p99_ms: float
    batch_size: float


CASES = (
    Case(IDENTITY, SIZES),
    Case("burgers1d-fno", {"x": 256}),
    Case("burgers1d-fno", {"x": 1024}),
    Case("darcy2d-fno", {}),
)


def main() -> None:
    """Measure, print, and write where asked to."""
    arguments = _arguments()
    console = Console(highlight=False)
    busy = is_busy()
    if busy:
        console.print(f"[yellow]load average {os.getloadavg()[0]:.1f}: the machine is busy[/]")
    if busy and arguments.write:
        sys.exit("nothing is published from a busy machine")
    with tempfile.TemporaryDirectory() as directory:
        repository = Path(directory)
        cases = _build_repository(repository, arguments.models)
        bare, seen = _measure(repository, cases, arguments, console)
    conditions = _conditions(arguments)
    rows = list(_rows(cases, bare, seen))
    console.print(conditions)
    console.print(table(HEADINGS, rows))
    for line in _targets(seen):
        console.print(line)
    if arguments.write:
        write_section("doors", [conditions, "", *markdown(HEADINGS, rows), "", *_targets(seen)])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="put the table into README.md")
    parser.add_argument("--repeats", type=int, default=5, help="interleaved; medians are printed")
    parser.add_argument("--duration", type=float, default=3.0, help="seconds of each run")
    parser.add_argument("--models", type=Path, default=Path("models/artifacts"))
    parser.add_argument("--num-threads", type=int, default=0, help="of the server; 0 is its choice")
    return parser.parse_args()


def _build_repository(root: Path, models: Path) -> list[Case]:
    """The identity and what is built of the bundled models; the cases that can be run."""
    write_identity(root)
    for name in {case.model for case in CASES} - {IDENTITY}:
        if (models / name).is_dir():
            (root / name).symlink_to((models / name).resolve(), target_is_directory=True)
    return [case for case in CASES if (root / case.model).is_dir()]


def _measure(
    repository: Path, cases: Sequence[Case], arguments: argparse.Namespace, console: Console
) -> tuple[list[list[Bare]], dict[Run, list[Seen]]]:
    engines = [load_bare(repository, case.model) for case in cases]
    bare: list[list[Bare]] = [[] for _ in cases]
    clients = ("HTTP", "gRPC", *(["HTTP, wrk"] if wrk_is_here() else []))
    runs = [Run(*run) for run in itertools.product(range(len(cases)), clients, CONNECTIONS)]
    seen: dict[Run, list[Seen]] = {run: [] for run in runs}
    options = ["--num-threads", str(arguments.num_threads)]
    with local_server(repository, options) as server, console.status("measuring") as status:
        for repeat in range(arguments.repeats):
            for index, case in enumerate(cases):
                bare[index].append(measure_bare(engines[index], case.sizes))
            for run in runs:
                status.update(f"repeat {repeat + 1} of {arguments.repeats}: {run}")
                seen[run].append(_run(server, cases[run.case], run, arguments.duration))
    return bare, seen


def _run(server: LocalServer, case: Case, run: Run, duration_s: float) -> Seen:
    door = open_door(server.grpc if run.client == "gRPC" else server.http)
    with Client(server.http) as client:
        manifest = client.model(case.model).manifest
    rng = np.random.default_rng(0)
    inputs = [draw_inputs(manifest, case.sizes, rng) for _ in range(NUM_INPUTS)]
    prepared = [door.prepare(case.model, None, each) for each in inputs]
    if run.client == "HTTP, wrk":
        body = prepared[0].partition(b"\r\n\r\n")[2]
        url = f"{server.http}/v1/models/{case.model}/solve"
        return Seen(*run_wrk(url, body, run.num_connections, duration_s), float("nan"))
    load = Load(run.num_connections, Bounds(duration_s, 10_000_000))
    summary = summarise(measure(door, prepared, load))
    if summary.errors:
        raise RuntimeError(f"{run}: {dict(summary.errors)}")
    return Seen(summary.throughput, summary.p50_ms, summary.p99_ms, summary.mean_batch_size)


def _rows(
    cases: Sequence[Case], bare: Sequence[Sequence[Bare]], seen: dict[Run, list[Seen]]
) -> Iterator[tuple[str, ...]]:
    for index, case in enumerate(cases):
        sizes = " ".join(f"{axis}={size}" for axis, size in case.sizes.items())
        name = f"{case.model} {sizes}".strip()
        single = statistics.median(each.single for each in bare[index])
        best = statistics.median(each.best for each in bare[index])
        batch = statistics.median_low(each.best_batch_size for each in bare[index])
        yield name, "bare program", "", f"{single:.0f}", f"{1e3 / single:.2f}", "", "1", ""
        yield name, "bare program", "", f"{best:.0f}", "", "", f"{batch}", "1.00"
        for run, several in seen.items():
            if run.case == index:
                yield (name, *_row(run, _median(several), best))


def _row(run: Run, seen: Seen, best: float) -> tuple[str, ...]:
    return (
        run.client,
        str(run.num_connections),
        f"{seen.throughput:.0f}",
        f"{seen.p50_ms:.2f}",
        f"{seen.p99_ms:.2f}",
        "" if np.isnan(seen.batch_size) else f"{seen.batch_size:.1f}",
        f"{seen.throughput / best:.2f}" if run.num_connections > 1 else "",
    )


def _median(several: Sequence[Seen]) -> Seen:
    return Seen(*(statistics.median(column) for column in zip(*several, strict=True)))


HEADINGS = (
    "model",
    "through",
    "connections",
    "solves/s",
    "p50 ms",
    "p99 ms",
    "batch",
    "of bare",
)


def _targets(seen: dict[Run, list[Seen]]) -> list[str]:
    """Each promise about the doors beside what was measured, kept or missed."""
    rate = _median(seen[Run(0, "HTTP", 32)]).throughput
    # The client that takes the least of the time it measures.
    client = "HTTP, wrk" if wrk_is_here() else "HTTP"
    p50_ms = _median(seen[Run(0, client, 1)]).p50_ms
    return [
        f"Target: at least {TARGET_RATE:.0f} solves/s of the identity on two cores over 32 "
        f"connections. Measured {rate:.0f}: {verdict(rate >= TARGET_RATE)}.",
        f"Target: p50 below {TARGET_P50_MS} ms over one connection, 16 KiB in and out. "
        f"Measured {p50_ms:.2f} ms by {client}: "
        f"{verdict(p50_ms < TARGET_P50_MS)}.",
    ]


def _conditions(arguments: argparse.Namespace) -> str:
    threads = arguments.num_threads or "as the server chooses"
    return (
        f"{processor()}, {os.cpu_count()} cores shared by server and client; compute threads "
        f"{threads}; Python {platform.python_version()}, torch {torch.__version__}; medians of "
        f"{arguments.repeats} interleaved runs of {arguments.duration:g} s; load average at the "
        f"end {os.getloadavg()[0]:.1f}."
    )


if __name__ == "__main__":
    main()

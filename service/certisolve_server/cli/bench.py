"""certisolve bench: how many requests a server answers, and how fast, under a stated load."""

import dataclasses
import math
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from .console import fail, messages, output, print_json
from .remote import DEFAULT_URL, Url, Version, connected

if TYPE_CHECKING:
    from certisolve_server.bench import AbstractDoor, Load, Measurement, Summary

#: Different inputs in turn, so that no cache answers for the model.
_NUM_INPUTS = 16
_NUM_USERS = 32
#: Requests under way at once in an open loop; those beyond wait, and their wait counts.
_MAX_UNDER_WAY = 128


def bench(
    model: Annotated[str, typer.Argument(help="Name of the model.")],
    url: Url = DEFAULT_URL,
    version: Version = None,
    connections: Annotated[
        int | None,
        typer.Option(min=1, max=1024, help="Closed loop of so many users; 32 unless --rate."),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(min=0.01, help="Open loop: mean requests per second, Poisson arrivals."),
    ] = None,
    duration: Annotated[
        float, typer.Option(min=0.1, max=3600, help="Seconds during which requests are sent.")
    ] = 5.0,
    requests: Annotated[
        int, typer.Option(min=1, max=10_000_000, help="Most requests sent.")
    ] = 1_000_000,
    resolution: Annotated[
        list[str] | None,
        typer.Option(metavar="AXIS=SIZE", help="Size of an axis; else the first validated one."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of inputs and arrival times.")] = 0,
    allow_remote: Annotated[
        bool, typer.Option("--allow-remote", help="Load another machine, which must be yours.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Put a server under load, over HTTP or gRPC as the URL says, and print what came of it.

    With --connections every user waits for an answer before asking again: that shows capacity.
    With --rate users ask when they like, and a latency runs from that moment: that shows waiting.
    """
    from certisolve_server.bench import Bounds, Load, open_door, summarise

    sizes = dict(_size(text) for text in resolution or [])
    num_connections = connections or (_NUM_USERS if rate is None else _MAX_UNDER_WAY)
    load = Load(num_connections, Bounds(duration, requests), rate, seed)
    try:
        door = open_door(url, allow_remote=allow_remote)
    except ValueError as error:
        fail(str(error))
    prepared = _prepare(door, url, model, version, sizes, seed)
    try:
        summary = summarise(_measure(door, prepared, load))
    except OSError as error:
        fail(f"{url}: {error}")
    _report(summary, load, as_json=as_json)
    if not summary.num_ok:
        fail("no request was answered with a solution")


def _size(text: str) -> tuple[str, int]:
    axis, _, size = text.partition("=")
    if not (axis and size.isascii() and size.isdigit() and int(size) > 0):
        fail(f"--resolution {text}: write AXIS=SIZE, for example x=256")
    return axis, int(size)


def _prepare(
    door: "AbstractDoor",
    url: str,
    model: str,
    version: str | None,
    sizes: dict[str, int],
    seed: int,
) -> list[bytes]:
    """Requests as bytes, after the server has answered one of them."""
    import numpy as np

    from certisolve_server.bench import draw_inputs

    rng = np.random.default_rng(seed)
    with connected(url) as client:
        manifest = client.model(model, version).manifest
        drawn = [draw_inputs(manifest, sizes, rng) for _ in range(_NUM_INPUTS)]
        # What this refuses with a reason would otherwise fail in thousands.
        first = drawn[0]
        client.solve(model, first.arrays, parameters=first.parameters, version=version)
    return [door.prepare(model, version, each) for each in drawn]


def _measure(door: "AbstractDoor", prepared: list[bytes], load: "Load") -> "Measurement":
    from certisolve_server.bench import measure

    console = messages()
    columns = (TextColumn("measuring"), BarColumn(), TimeElapsedColumn())
    with Progress(
        *columns,
        TextColumn("{task.fields[answers]} answers"),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as progress:
        task = progress.add_task("", total=load.bounds.duration_s, answers=0)
        return measure(door, prepared, load, lambda answers: _show(progress, task, answers))


def _show(progress: Progress, task: TaskID, answers: int) -> None:
    elapsed_s = progress.tasks[task].elapsed or 0.0
    progress.update(task, completed=elapsed_s, answers=answers)


def _report(summary: "Summary", load: "Load", *, as_json: bool) -> None:
    if as_json:
        print_json({k: _finite(v) for k, v in dataclasses.asdict(summary).items()})
        return
    if load.rate is None:
        kind = f"closed loop, {load.num_connections} connections"
    else:
        kind = f"open loop, {load.rate:g} requests/s asked for"
    errors = ", ".join(f"{code} {count}" for code, count in summary.errors.items()) or "none"
    table = Table(title=kind)
    for heading in ("answers", "per s", "p50 ms", "p90 ms", "p99 ms", "max ms", "batch", "errors"):
        table.add_column(heading, justify="right", no_wrap=heading != "errors")
    latencies = (summary.p50_ms, summary.p90_ms, summary.p99_ms, summary.max_ms)
    table.add_row(
        str(summary.num_ok),
        f"{summary.throughput:.1f}",
        *(f"{latency:.2f}" for latency in latencies),
        f"{summary.mean_batch_size:.1f}",
        errors,
    )
    output().print(table)


def _finite(value: object) -> object:
    return None if isinstance(value, float) and math.isnan(value) else value

"""certisolve queue: what waits, who works, and the jobs that were put aside."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer
from rich.markup import escape
from rich.table import Table

from . import options
from .console import fail, output, print_json
from .process import settings_or_fail

if TYPE_CHECKING:
    from certisolve_server.broker import Depth
    from certisolve_server.broker.base import DeadLetter
    from certisolve_server.broker.fleet import Fleet
    from certisolve_server.broker.redis import RedisBroker, RedisRegistry

_T = TypeVar("_T")
Json = Annotated[bool, typer.Option("--json", help="For programs.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
app = typer.Typer(
    name="queue",
    help="The queue in Redis: what waits, who works, and the jobs that were put aside.",
    no_args_is_help=True,
)


@app.command()
def status(broker: options.Broker = None, queue: options.Queue = None, json: Json = False) -> None:
    """Show the depth of the queue and the workers that are alive."""
    depth, fleet, letters = _ask(broker, queue, _read_status)
    if json:
        print_json(_status_document(depth, fleet, letters))
        return
    console = output()
    console.print(
        f"{depth.num_jobs} jobs, {depth.num_bytes} bytes of inputs, "
        f"about {depth.expected_s:.3g} s of work; {len(letters)} put aside"
    )
    console.print(_workers_table(fleet) if fleet.workers else "[yellow]no worker is alive[/]")


@app.command()
def dead(broker: options.Broker = None, queue: options.Queue = None, json: Json = False) -> None:
    """List the jobs that were put aside because workers died whenever they ran them."""
    letters = _ask(broker, queue, lambda broker, _: broker.dead_letters())
    if json:
        print_json([letter._asdict() for letter in letters])
        return
    console = output()
    if not letters:
        console.print("no job was put aside")
        return
    table = Table("job", "model", "tenant", "when", "why", box=None, header_style="bold")
    for letter in letters:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(letter.died_at))
        table.add_row(letter.id, escape(letter.model), letter.tenant, when, escape(letter.reason))
    console.print(table)
    console.print("again: certisolve queue replay JOB; forget: certisolve queue purge JOB")


@app.command()
def replay(
    job: Annotated[str, typer.Argument(help="Its id, from `certisolve queue dead`.")],
    broker: options.Broker = None,
    queue: options.Queue = None,
) -> None:
    """Queue a job that was put aside again; its result can be read under its id."""
    if not _ask(broker, queue, lambda broker, _: broker.replay(job)):
        fail(f"no job {job!r} was put aside; `certisolve queue dead` lists those that were")
    output().print(f"queued again: GET /v1/jobs/{job}")


@app.command()
def purge(
    job: Annotated[str | None, typer.Argument(help="Its id; all when left out.")] = None,
    broker: options.Broker = None,
    queue: options.Queue = None,
    yes: Yes = False,
) -> None:
    """Forget a job that was put aside, or all of them."""
    if job is None and not yes:
        typer.confirm("forget every job that was put aside?", abort=True)
    num_purged = _ask(broker, queue, lambda broker, _: broker.purge(job))
    if job is not None and not num_purged:
        fail(f"no job {job!r} was put aside; `certisolve queue dead` lists those that were")
    output().print(f"forgot {num_purged}")


def _ask(
    broker: str | None,
    queue: str | None,
    question: Callable[["RedisBroker", "RedisRegistry"], Awaitable[_T]],
) -> _T:
    settings = settings_or_fail(broker=broker, queue=queue)
    from certisolve_server.broker.redis import RedisRegistry
    from certisolve_server.doors import StartupError
    from certisolve_server.errors import ServingError
    from certisolve_server.processes.startup import open_broker

    async def ask() -> _T:
        asked = open_broker(settings, "operator", "queue")
        registry = RedisRegistry(settings.broker, settings.queue)
        try:
            return await question(asked, registry)
        finally:
            await asked.close()
            await registry.close()

    try:
        return asyncio.run(ask())
    except StartupError:
        fail("pass --broker redis://host:port/db: a queue in memory is asked through its server")
    except ServingError as error:
        fail(error.detail)


async def _read_status(
    broker: "RedisBroker", registry: "RedisRegistry"
) -> "tuple[Depth, Fleet, list[DeadLetter]]":
    return await broker.depth(), await registry.fleet(), list(await broker.dead_letters())


def _workers_table(fleet: "Fleet") -> Table:
    table = Table("worker", "device", "gRPC", "state", "models", box=None, header_style="bold")
    for card in sorted(fleet.workers, key=lambda card: card.name):
        ready = [placement.model.name for placement in card.placements if placement.ready]
        table.add_row(card.name, card.device, card.grpc, card.state, ", ".join(ready))
    return table


def _status_document(
    depth: "Depth", fleet: "Fleet", letters: "list[DeadLetter]"
) -> dict[str, object]:
    return {
        **depth._asdict(),
        "num_dead": len(letters),
        "workers": [
            {
                "name": card.name,
                "device": card.device,
                "grpc": card.grpc,
                "state": card.state,
                "models": [p.model.name for p in card.placements if p.ready],
            }
            for card in fleet.workers
        ],
    }

"""certisolve serve: gateway, queue and one worker in one process."""

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ..settings import Settings, SettingsError, load_settings

if TYPE_CHECKING:
    from ..embedded import Progress as LoadProgress
    from ..embedded import Ready

_EXAMPLE = Path("examples/burgers.py")


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on. [127.0.0.1]")] = None,
    port: Annotated[int | None, typer.Option(help="HTTP port; 0 picks a free one. [8000]")] = None,
    grpc_port: Annotated[int | None, typer.Option(help="gRPC port. [8001]")] = None,
    models: Annotated[
        Path | None, typer.Option(help="Repository of artifacts. [models/artifacts]")
    ] = None,
    broker: Annotated[str | None, typer.Option(help="Queue. [memory://]")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda:N. [auto]")] = None,
    num_threads: Annotated[
        int | None, typer.Option(help="Compute threads of the CPU; 0 lets torch choose. [0]")
    ] = None,
    max_body_bytes: Annotated[
        int | None, typer.Option(help="Most bytes of one request. [268435456]")
    ] = None,
    log_level: Annotated[
        str | None, typer.Option(help="debug, info, warning or error. [info]")
    ] = None,
    allow_remote: Annotated[
        bool | None, typer.Option("--allow-remote", help="Listen beyond loopback, unauthenticated.")
    ] = None,
) -> None:
    """Serve every model of a repository over HTTP and gRPC, in one process.

    Each option is also an environment variable, CERTISOLVE_PORT for --port.
    """
    console = Console(stderr=True)
    try:
        settings = load_settings(
            host=host,
            port=port,
            grpc_port=grpc_port,
            models=models,
            broker=broker,
            device=device,
            num_threads=num_threads,
            max_body_bytes=max_body_bytes,
            log_level=log_level,
            allow_remote=allow_remote,
        )
    except SettingsError as error:
        console.print(f"[red]error[/] {error}", highlight=False)
        raise typer.Exit(2) from error
    _serve(settings, console)


def _serve(settings: Settings, console: Console) -> None:
    with console.status("starting torch"):
        from ..embedded import serve as serve_embedded
        from ..gateway import StartupError
        from ..telemetry import configure_logging

    configure_logging(settings.log_level)
    columns = (TextColumn("loading models"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TextColumn("{task.description}"), console=console) as progress:
        task = progress.add_task("", total=None)

        def on_progress(loaded: "LoadProgress") -> None:
            progress.update(
                task, total=loaded.total, completed=loaded.done, description=loaded.name
            )

        def on_ready(ready: "Ready") -> None:
            progress.stop()
            _print_banner(ready, console)

        try:
            with asyncio.Runner(loop_factory=_new_loop()) as runner:
                runner.run(serve_embedded(settings, on_progress=on_progress, on_ready=on_ready))
        except StartupError as error:
            progress.stop()
            console.print(f"[red]error[/] {error}", highlight=False)
            raise typer.Exit(1) from error


def _new_loop() -> "type[asyncio.AbstractEventLoop] | None":
    if sys.platform == "win32":
        return None
    import uvloop

    return uvloop.Loop


def _print_banner(ready: "Ready", console: Console) -> None:
    entries = list(ready.catalog)
    served = ", ".join(e.artifact.manifest.name for e in entries if e.ready)
    url = ready.addresses.http
    console.print(f"\n[bold green]certisolve[/] serves {served} on {ready.device}", highlight=False)
    for entry in entries:
        if entry.fault:
            console.print(f"  [red]refused[/] {entry.fault}", highlight=False)
    console.print(f"  HTTP   {url}   (interface: {url}/docs)", highlight=False)
    console.print(f"  gRPC   {ready.addresses.grpc}", highlight=False)
    console.print(f"  Try    {_curl(ready)}", soft_wrap=True, highlight=False)
    if _EXAMPLE.exists():
        console.print(f"  Python {_EXAMPLE}", highlight=False)


def _curl(ready: "Ready") -> str:
    """A curl line for the first model, with the smallest request its manifest allows."""
    from ..samples import sample_request

    manifest = next(entry for entry in ready.catalog if entry.ready).artifact.manifest
    body = sample_request(manifest)
    return f"curl {ready.addresses.http}/v1/models/{manifest.name}/solve -d '{body}'"

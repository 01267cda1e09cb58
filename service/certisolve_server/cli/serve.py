"""certisolve serve: gateway, queue and one worker in one process."""

import asyncio
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from certisolve_server.settings import Settings, SettingsError, load_settings

from .banner import print_banner
from .console import fail, messages

if TYPE_CHECKING:
    from certisolve_server.embedded import Progress as LoadProgress
    from certisolve_server.embedded import Ready


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on (127.0.0.1).")] = None,
    port: Annotated[int | None, typer.Option(help="HTTP port; 0 picks a free one (8000).")] = None,
    grpc_port: Annotated[
        int | None, typer.Option(help="gRPC port; 0 picks a free one (8001).")
    ] = None,
    models: Annotated[
        Path | None, typer.Option(help="Repository of artifacts (models/artifacts).")
    ] = None,
    broker: Annotated[str | None, typer.Option(help="Queue (memory://).")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda:N (auto).")] = None,
    num_threads: Annotated[
        int | None, typer.Option(help="Compute threads of the CPU; 0 lets torch choose (0).")
    ] = None,
    max_body_bytes: Annotated[
        int | None, typer.Option(help="Most bytes of one request (268435456).")
    ] = None,
    log_level: Annotated[
        str | None, typer.Option(help="debug, info, warning or error (info).")
    ] = None,
    allow_remote: Annotated[
        bool | None,
        typer.Option("--allow-remote", help="Listen beyond loopback, unauthenticated (off)."),
    ] = None,
) -> None:
    """Serve every model of a repository over HTTP and gRPC, in one process.

    Each option is also an environment variable, CERTISOLVE_PORT for --port.
    """
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
        fail(str(error), code=2)
    _serve(settings, messages())


def _serve(settings: Settings, console: Console) -> None:
    # Read once, when torch is imported. By default compute threads spin long when they wait for
    # each other, on cores that the doors and other programs need; not to spin at all would cost a
    # thread switch per operator. benchmarks/threads.py measures the range.
    os.environ.setdefault("GOMP_SPINCOUNT", "5000")
    with console.status("starting torch"):
        from certisolve_server.embedded import serve as serve_embedded
        from certisolve_server.gateway import StartupError
        from certisolve_server.telemetry import configure_logging

    configure_logging(settings.log_level)
    with _progress(console) as progress:
        task = progress.add_task("", total=None)

        def on_progress(loaded: "LoadProgress") -> None:
            progress.update(
                task, total=loaded.total, completed=loaded.done, description=loaded.name
            )

        def on_ready(ready: "Ready") -> None:
            progress.stop()
            print_banner(ready, console)

        try:
            with asyncio.Runner(loop_factory=_new_loop()) as runner:
                runner.run(serve_embedded(settings, on_progress=on_progress, on_ready=on_ready))
        except StartupError as error:
            progress.stop()
            fail(str(error))


def _progress(console: Console) -> Progress:
    columns = (TextColumn("loading models"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(
        *columns,
        TextColumn("{task.description}"),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def _new_loop() -> "type[asyncio.AbstractEventLoop] | None":
    if sys.platform == "win32":
        return None
    import uvloop

    return uvloop.Loop

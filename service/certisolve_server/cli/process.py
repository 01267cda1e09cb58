"""Running a process of the service from a command: settings, log, event loop, progress."""

import asyncio
import os
import sys
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from certisolve_server.settings import Settings, SettingsError, load_settings

from .console import fail

if TYPE_CHECKING:
    from certisolve_server.processes.loading import Progress as LoadProgress


def settings_or_fail(**flags: object) -> Settings:
    """The settings of flags and environment; a malformed one ends the command with one line."""
    try:
        return load_settings(**flags)
    except SettingsError as error:
        fail(str(error), code=2)


def calm_compute_threads() -> None:
    """Before torch is imported, which reads this once.

    By default compute threads spin long when they wait for each other, on cores that the doors and
    other programs need; not to spin at all would cost a thread switch per operator.
    benchmarks/threads.py measures the range.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "5000")


def run(settings: Settings, process: Coroutine[Any, Any, None]) -> None:
    """Run a process to its end; what keeps it from starting ends the command with one line."""
    from certisolve_server.doors import StartupError
    from certisolve_server.telemetry import configure_logging

    configure_logging(settings.log_level, settings.log_format)
    try:
        with asyncio.Runner(loop_factory=_new_loop()) as runner:
            runner.run(process)
    except StartupError as error:
        fail(str(error))
    except ExceptionGroup as group:
        # A task group wraps what its body raises.
        refused, rest = group.split(StartupError)
        if refused is None or rest is not None:
            raise
        fail(str(refused.exceptions[0]))


class LoadingBar:
    """A bar that fills while models load.

    Arguments:
        console: where it is shown, if that is a terminal.
    """

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("loading models"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.description}"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("", total=None)

    def __enter__(self) -> Callable[["LoadProgress"], None]:
        self._progress.start()
        return self.show

    def __exit__(self, *_: object) -> None:
        self.stop()

    def show(self, loaded: "LoadProgress") -> None:
        """Move on."""
        self._progress.update(
            self._task, total=loaded.total, completed=loaded.done, description=loaded.name
        )

    def stop(self) -> None:
        """Take it away."""
        self._progress.stop()


def _new_loop() -> "type[asyncio.AbstractEventLoop] | None":
    if sys.platform == "win32":
        return None
    import uvloop

    return uvloop.Loop

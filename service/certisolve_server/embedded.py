"""Composition root of `certisolve serve`: doors, queue and one worker in one process."""

import asyncio
import contextlib
import gc
import logging
import signal
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from .artifacts import ArtifactError, scan
from .catalog import Catalog, ModelEntry
from .engines import AbstractDevice, ProgramError, load_engine, open_device
from .gateway import Addresses, Doors, StartupError, create_broker, create_dataplane, open_doors
from .jobs import Artifact
from .settings import Settings
from .telemetry import Metrics
from .worker import Worker

_log = logging.getLogger(__name__)


class Progress(NamedTuple):
    """How far start-up has come.

    Attributes:
        done: models loaded or refused.
        total: models found.
        name: the model just settled; empty before the first.
        fault: why it is not served; None when it is.
    """

    done: int
    total: int
    name: str = ""
    fault: str | None = None


class Ready(NamedTuple):
    """What a started server tells its operator."""

    addresses: Addresses
    device: str
    catalog: Catalog


async def serve(
    settings: Settings,
    *,
    on_progress: Callable[[Progress], None],
    on_ready: Callable[[Ready], None],
) -> None:
    """Serve until SIGINT or SIGTERM.

    Args:
        settings: everything configurable.
        on_progress: called while models load.
        on_ready: called once, when requests are answered.

    Raises:
        StartupError: a port is taken, there is no such device, or no model can be served.
    """
    catalog, device = _catalog(settings), _device(settings)
    metrics, broker = Metrics(), create_broker(settings)
    dataplane = create_dataplane(settings, catalog, broker, metrics)
    delay_s = settings.max_queue_delay_ms / 1e3
    worker = Worker(broker, device, max_queue_delay=delay_s, metrics=metrics)
    async with open_doors(settings, dataplane) as doors, asyncio.TaskGroup() as tasks:
        _stop_on_signal(doors)
        serving = tasks.create_task(doors.serve())
        working = tasks.create_task(worker.run())
        num_served = await _load_all(worker, device, catalog, on_progress)
        _tune_garbage_collector()
        if num_served:
            on_ready(Ready(doors.addresses, device.name, catalog))
        else:
            doors.stop()
        await serving
        working.cancel()
    if not num_served:
        raise StartupError(f"no model in {settings.models} can be served")


def _catalog(settings: Settings) -> Catalog:
    try:
        found = scan(settings.models)
    except ArtifactError as error:
        raise StartupError(str(error)) from error
    for path, fault in found.faults.items():
        _log.error("artifact_refused path=%s fault=%s", path, fault)
    catalog = Catalog()
    for artifact in found.artifacts:
        catalog.put(ModelEntry(artifact))
    return catalog


def _device(settings: Settings) -> AbstractDevice:
    try:
        return open_device(settings.device, num_threads=settings.num_threads)
    except ValueError as error:
        raise StartupError(str(error)) from error


def _stop_on_signal(doors: Doors) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):  # Windows has no signal handlers in loops
            loop.add_signal_handler(number, doors.stop)


def _tune_garbage_collector() -> None:
    """Look neither at what start-up left for good, nor after every few requests."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


async def _load_all(
    worker: Worker,
    device: AbstractDevice,
    catalog: Catalog,
    on_progress: Callable[[Progress], None],
) -> int:
    entries = list(catalog)
    on_progress(Progress(0, len(entries)))
    for done, entry in enumerate(entries, 1):
        fault = await _load(worker, device, entry.artifact)
        catalog.put(ModelEntry(entry.artifact, ready=fault is None, fault=fault))
        on_progress(Progress(done, len(entries), entry.artifact.manifest.name, fault))
    return sum(entry.ready for entry in catalog)


async def _load(worker: Worker, device: AbstractDevice, artifact: Artifact) -> str | None:
    try:
        await worker.load(partial(load_engine, artifact, device))
    except ProgramError as error:
        _log.error("model_refused model=%s fault=%s", artifact.manifest.name, error)
        return str(error)
    return None

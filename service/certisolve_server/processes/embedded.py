"""`certisolve serve`: doors, queue and one worker in one process."""

import asyncio
from collections.abc import Callable
from typing import NamedTuple

from certisolve_server.broker import MemoryBroker
from certisolve_server.catalog import Catalog, WorkerRef
from certisolve_server.dataplane import DataPlane
from certisolve_server.doors import Addresses, StartupError, open_doors
from certisolve_server.sessions import MemorySessionStore
from certisolve_server.settings import Settings
from certisolve_server.telemetry import Metrics
from certisolve_server.worker import Worker

from .loading import Progress, certify_options, load_all, open_catalog, open_compute_device
from .startup import (
    bounds_of,
    limits_of,
    on_stop_signal,
    open_tracing,
    process_name,
    sessions_of,
    tune_garbage_collector,
)


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
    if settings.broker != "memory://":
        raise StartupError(
            "`certisolve serve` has its queue in memory; for one in Redis run "
            "`certisolve gateway` and `certisolve worker`"
        )
    catalog, device = open_catalog(settings), open_compute_device(settings)
    metrics, tracing = Metrics(), open_tracing(settings, "certisolve", "serve")
    broker = MemoryBroker(bounds_of(settings), on_expired=metrics.deadline_missed)
    dataplane = DataPlane(catalog, broker, limits_of(settings), metrics, tracing=tracing)
    store = MemorySessionStore(settings.max_session_bytes)
    sessions = sessions_of(settings, catalog, broker, store, metrics, tracing)
    worker = Worker(
        [broker],
        device,
        max_queue_delay=settings.max_queue_delay_ms / 1e3,
        max_state_bytes=settings.max_state_bytes,
        lease_s=settings.lease_s,
        certify=certify_options(settings),
        metrics=metrics,
        tracing=tracing,
    )
    opened = open_doors(settings, dataplane, sessions=sessions)
    async with broker, opened as doors, asyncio.TaskGroup() as tasks:
        on_stop_signal(doors.stop)
        serving = tasks.create_task(doors.serve())
        working = tasks.create_task(worker.run())
        where = WorkerRef(process_name(settings), device.name, doors.addresses.grpc)
        num_served = await load_all(worker, device, catalog, where, on_progress)
        tune_garbage_collector()
        if num_served:
            on_ready(Ready(doors.addresses, device.name, catalog))
        else:
            doors.stop()
        await serving
        working.cancel()
    tracing.close()
    if not num_served:
        raise StartupError(f"no model in {settings.models} can be served")

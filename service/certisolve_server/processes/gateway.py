"""`certisolve gateway`: the doors alone, in front of a queue; without torch and without models."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterator

from certisolve.manifest import Manifest, ManifestError
from certisolve_server.broker.fleet import Fleet
from certisolve_server.broker.redis import RedisBroker, RedisRegistry
from certisolve_server.catalog import Catalog, ModelEntry, WorkerRef
from certisolve_server.dataplane import DataPlane
from certisolve_server.doors import Addresses, open_doors
from certisolve_server.errors import ServingError
from certisolve_server.jobs import Artifact, ModelKey
from certisolve_server.settings import Settings
from certisolve_server.telemetry import Metrics

from .startup import (
    check_broker,
    limits_of,
    on_stop_signal,
    open_broker,
    open_session_store,
    open_tracing,
    process_name,
    sessions_of,
    tune_garbage_collector,
)

_log = logging.getLogger(__name__)
#: A model that was served so lately is taken for one whose workers are being replaced: its jobs
#: wait in the queue. After that they are refused at the door.
_GRACE_S = 60.0


async def serve(settings: Settings, *, on_ready: Callable[[Addresses], None]) -> None:
    """Serve until SIGINT or SIGTERM.

    Args:
        settings: everything configurable.
        on_ready: called once, when requests are answered.

    Raises:
        StartupError: a port is taken, or Redis would lose accepted work.
    """
    name = process_name(settings)
    broker = open_broker(settings, name, "gateway")
    registry = RedisRegistry(settings.broker, settings.queue)
    catalog, metrics = Catalog(), Metrics()
    tracing = open_tracing(settings, "certisolve-gateway", name)
    dataplane = DataPlane(
        catalog,
        broker,
        limits_of(settings),
        metrics,
        tracing=tracing,
        needs_every_model=False,
    )
    store = open_session_store(settings)
    sessions = sessions_of(settings, catalog, broker, store, metrics, tracing)
    async with broker, open_doors(settings, dataplane, sessions=sessions) as doors:
        await check_broker(broker)
        directory = Directory(registry, catalog, broker)
        await directory.refresh()
        on_stop_signal(doors.stop)
        tune_garbage_collector()
        async with asyncio.TaskGroup() as tasks:
            background = [
                tasks.create_task(directory.follow()),
                tasks.create_task(reap_forever(broker, metrics, settings.lease_s / 3)),
            ]
            on_ready(doors.addresses)
            await doors.serve()
            for task in background:
                task.cancel()
    await registry.close()
    await store.close()
    tracing.close()


class Directory:
    """Keeps a catalog true to the fleet.

    Arguments:
        registry: who is alive.
        catalog: kept true.
        broker: told which models are served on this machine alone.
        clock: Unix seconds.
    """

    def __init__(
        self,
        registry: RedisRegistry,
        catalog: Catalog,
        broker: RedisBroker,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._registry = registry
        self._catalog = catalog
        self._broker = broker
        self._clock = clock
        self._served_at: dict[str, float] = {}
        self._artifacts: dict[str, Artifact | None] = {}

    async def refresh(self) -> None:
        """Read the fleet once; out of reach, the catalog stays as it is."""
        try:
            fleet = await self._registry.fleet()
        except ServingError:
            return
        self._catalog.replace(self._entries(fleet))
        self._broker.set_local_models(_local(fleet, self._broker.host))

    async def follow(self) -> None:
        """Refresh whenever the fleet changes, until cancelled."""
        while True:
            await self._registry.wait_for_change()
            await self.refresh()

    def _entries(self, fleet: Fleet) -> Iterator[ModelEntry]:
        now = self._clock()
        for digest, text in fleet.manifests.items():
            artifact = self._artifact(digest, text)
            if artifact is None:
                continue
            workers, faults = _where(fleet, digest)
            if workers:
                self._served_at[digest] = now
            ready = now - self._served_at.get(digest, -_GRACE_S) < _GRACE_S
            fault = faults[0] if faults and not ready else None
            yield ModelEntry(artifact, ready=ready, fault=fault, workers=workers)

    def _artifact(self, digest: str, text: str) -> Artifact | None:
        if digest not in self._artifacts:
            self._artifacts[digest] = _read_artifact(digest, text)
        return self._artifacts[digest]


async def reap_forever(broker: RedisBroker, metrics: Metrics, period_s: float) -> None:
    """Return the jobs of dead workers to the queue even while no worker is left to do it."""
    while True:
        await asyncio.sleep(period_s)
        with contextlib.suppress(ServingError):  # the connection has logged it
            reaped = await broker.reap()
            metrics.redelivered(reaped.num_redelivered)
            metrics.dead_lettered(reaped.num_dead)


def _where(fleet: Fleet, digest: str) -> tuple[tuple[WorkerRef, ...], list[str]]:
    """The workers that serve an artifact, and why others do not."""
    workers, faults = [], []
    for card in fleet.workers:
        for placement in card.placements:
            if placement.model.digest != digest:
                continue
            if placement.ready and card.state == "serving":
                workers.append(WorkerRef(card.name, card.device, card.grpc))
            if placement.fault:
                faults.append(placement.fault)
    return tuple(workers), faults


def _local(fleet: Fleet, host: str) -> frozenset[ModelKey]:
    """The models whose workers all read the shared memory of `host`."""
    hosts: dict[ModelKey, set[str]] = {}
    for card in fleet.workers:
        for placement in card.placements:
            hosts.setdefault(placement.model, set()).add(card.host)
    return frozenset(model for model, found in hosts.items() if host and found == {host})


def _read_artifact(digest: str, text: str) -> Artifact | None:
    try:
        return Artifact(Manifest.from_json(text), digest, directory="")
    except ManifestError as error:
        _log.error("manifest_refused digest=%s fault=%s", digest, error)
        return None

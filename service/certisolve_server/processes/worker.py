"""`certisolve worker`: one device, the queue's jobs, and doors of its own to the same batcher."""

import asyncio
import contextlib
import time
from collections.abc import Callable

from certisolve_server.api.worker_rpc import WorkerStatus, worker_service
from certisolve_server.broker import MemoryBroker
from certisolve_server.broker.fleet import Placement, WorkerCard
from certisolve_server.broker.redis import LIFETIME_S, RedisRegistry
from certisolve_server.catalog import Catalog, ModelEntry, WorkerRef
from certisolve_server.dataplane import DataPlane
from certisolve_server.doors import StartupError, open_doors
from certisolve_server.engines import AbstractDevice
from certisolve_server.errors import ModelNotReady, QueueUnavailable, UnknownModel
from certisolve_server.jobs import Artifact
from certisolve_server.settings import Settings
from certisolve_server.telemetry import Metrics
from certisolve_server.worker import Worker

from .embedded import Ready
from .loading import (
    Progress,
    certify_options,
    load,
    load_all,
    open_catalog,
    open_compute_device,
    scan_repository,
    settled,
)
from .startup import (
    bounds_of,
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

#: Seconds for handing back what is left when the time to finish it is up.
_HAND_BACK_S = 2.0


async def serve(
    settings: Settings,
    *,
    on_progress: Callable[[Progress], None],
    on_ready: Callable[[Ready], None],
) -> None:
    """Serve until SIGINT or SIGTERM, then finish what is on the device and hand the rest back.

    Args:
        settings: everything configurable.
        on_progress: called while models load.
        on_ready: called once, when requests are answered.

    Raises:
        StartupError: a port is taken, there is no such device, no model can be served, or Redis
            would lose accepted work.
    """
    name = process_name(settings)
    metrics = Metrics()
    queue = open_broker(settings, name, "worker", on_expired=metrics.deadline_missed)
    direct = MemoryBroker(bounds_of(settings), on_expired=metrics.deadline_missed)
    catalog, device = open_catalog(settings), open_compute_device(settings)
    tracing = open_tracing(settings, "certisolve-worker", name)
    dataplane = DataPlane(
        catalog, direct, limits_of(settings), metrics, jobs_broker=queue, tracing=tracing
    )
    worker = Worker(
        [direct, queue],
        device,
        max_queue_delay=settings.max_queue_delay_ms / 1e3,
        max_state_bytes=settings.max_state_bytes,
        lease_s=settings.lease_s,
        certify=certify_options(settings),
        metrics=metrics,
        tracing=tracing,
    )
    node = Node(settings, name, queue.host, worker, device, catalog)
    store = open_session_store(settings)
    sessions = sessions_of(settings, catalog, direct, store, metrics, tracing)
    opened = open_doors(settings, dataplane, [worker_service(node)], sessions=sessions)
    async with queue, direct, opened as doors:
        await check_broker(queue)
        node.grpc = settings.advertise or doors.addresses.grpc
        on_stop_signal(node.drain_soon)
        async with asyncio.TaskGroup() as tasks:
            background = [
                tasks.create_task(doors.serve()),
                tasks.create_task(worker.run()),
                tasks.create_task(node.announce_forever()),
            ]
            num_served = await load_all(worker, device, catalog, node.where, on_progress)
            if num_served:
                tune_garbage_collector()
                node.start_serving()
                on_ready(Ready(doors.addresses, device.name, catalog))
                await node.until_draining()
            # First the doors: who was let in is answered, for nobody else could.
            doors.stop()
            await background[0]
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(settings.drain_s + _HAND_BACK_S):
                    await worker.drain(settings.drain_s)
            for task in background:
                task.cancel()
    await node.close()
    await store.close()
    tracing.close()
    if not num_served:
        raise StartupError(f"no model in {settings.models} can be served")


class Node:
    """A worker process as its operator and its fleet see it.

    Arguments:
        settings: repository and queue.
        name: unlike any other's that is alive.
        host: names the machine whose shared memory it reads.
        worker: what runs jobs.
        device: where.
        catalog: told of what is loaded and unloaded.
    """

    def __init__(
        self,
        settings: Settings,
        name: str,
        host: str,
        worker: Worker,
        device: AbstractDevice,
        catalog: Catalog,
    ) -> None:
        self.grpc = ""
        self._settings = settings
        self._name = name
        self._host = host
        self._worker = worker
        self._device = device
        self._catalog = catalog
        self._registry = RedisRegistry(settings.broker, settings.queue)
        self._state = "starting"
        self._started_at = time.monotonic()
        self._changed = asyncio.Event()
        self._draining = asyncio.Event()
        self._changing = asyncio.Lock()

    # --- For the operator -------------------------------------------------------------------------

    async def load_model(self, name: str, version: str | None) -> None:
        """Load a model of the repository.

        Raises:
            NotFound: the repository has no such model or version.
            ModelNotReady: it failed its checks; the message says which.
        """
        async with self._changing:
            artifact = await asyncio.to_thread(self._find, name, version)
            fault = await load(self._worker, self._device, artifact)
            self._catalog.put(settled(artifact, fault, self.where))
            self._changed.set()
        if fault is not None:
            raise ModelNotReady(fault)

    async def unload_model(self, name: str, version: str | None) -> None:
        """Serve a model no more and free its memory, once its jobs are done or handed back.

        Raises:
            NotFound: no such model is loaded.
        """
        async with self._changing:
            gone = [
                entry
                for entry in self._catalog
                if entry.artifact.manifest.name == name
                and version in (None, entry.artifact.manifest.version)
            ]
            if not gone:
                raise UnknownModel(f"no model {name!r} is loaded here", field="name")
            self._catalog.replace(entry for entry in self._catalog if entry not in gone)
            self._changed.set()
            for entry in gone:
                await self._worker.unload(entry.artifact.key)

    def drain_soon(self) -> None:
        """Take no more jobs, finish those at hand, then end the process."""
        self._draining.set()

    @property
    def where(self) -> WorkerRef:
        """The worker as others find it."""
        return WorkerRef(self._name, self._device.name, self.grpc)

    def status(self) -> WorkerStatus:
        """Where the worker stands."""
        return WorkerStatus(
            worker=self.where,
            state="draining" if self._draining.is_set() else self._state,
            entries=tuple(self._catalog),
            num_waiting=self._worker.num_waiting,
            num_running=self._worker.num_running,
            uptime_s=time.monotonic() - self._started_at,
        )

    # --- For the process --------------------------------------------------------------------------

    def start_serving(self) -> None:
        """Every model is loaded or refused."""
        self._state = "serving"
        self._changed.set()

    async def until_draining(self) -> None:
        """Wait for a reason to drain, and tell the fleet of it."""
        await self._draining.wait()
        self._changed.set()

    async def announce_forever(self) -> None:
        """Tell the fleet of this worker: at every change, and often enough to count as alive."""
        while True:
            self._changed.clear()
            with contextlib.suppress(QueueUnavailable):
                await self._registry.announce(self._card(), self._manifests())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LIFETIME_S / 3):
                    await self._changed.wait()

    async def close(self) -> None:
        """Leave the fleet."""
        with contextlib.suppress(QueueUnavailable):
            await self._registry.withdraw(self._name)
        await self._registry.close()

    def _find(self, name: str, version: str | None) -> Artifact:
        found = Catalog()
        for artifact in scan_repository(self._settings):
            found.put(ModelEntry(artifact))
        return found.find(name, version).artifact

    def _card(self) -> WorkerCard:
        placements = tuple(
            Placement(entry.artifact.key, entry.ready, entry.fault or "") for entry in self._catalog
        )
        state = self.status().state
        return WorkerCard(self._name, self._device.name, self.grpc, self._host, state, placements)

    def _manifests(self) -> dict[str, str]:
        artifacts = (entry.artifact for entry in self._catalog)
        return {artifact.digest: artifact.manifest.to_json() for artifact in artifacts}

"""certisolve.v1.WorkerService: what a worker's operator may ask of it."""

from dataclasses import dataclass
from typing import Protocol

from certisolve.v1 import model_pb2, worker_pb2, worker_pb2_grpc
from certisolve_server.catalog import ModelEntry, WorkerRef

from .rpc import Context, MoreServices, problems


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """Where a worker stands.

    Attributes:
        worker: its name, device and address.
        state: `starting`, `serving` or `draining`.
        entries: what it has loaded, or tried to.
        num_waiting: jobs waiting for the device.
        num_running: jobs in the batches on it.
        uptime_s: seconds since it started.
    """

    worker: WorkerRef
    state: str
    entries: tuple[ModelEntry, ...]
    num_waiting: int
    num_running: int
    uptime_s: float


class WorkerControl(Protocol):
    """What a worker process offers its operator."""

    async def load_model(self, name: str, version: str | None) -> None:
        """Load a model of the repository."""

    async def unload_model(self, name: str, version: str | None) -> None:
        """Serve a model no more."""

    def drain_soon(self) -> None:
        """Finish what is at hand, then end the process."""

    def status(self) -> WorkerStatus:
        """Where the worker stands."""


class WorkerServicer(worker_pb2_grpc.WorkerServiceServicer):
    """certisolve.v1.WorkerService."""

    def __init__(self, control: WorkerControl) -> None:
        self._control = control

    async def LoadModel(
        self, request: worker_pb2.LoadModelRequest, context: Context
    ) -> worker_pb2.WorkerStatus:
        async with problems(context):
            await self._control.load_model(request.name, request.version or None)
            return _to_status(self._control.status())

    async def UnloadModel(
        self, request: worker_pb2.UnloadModelRequest, context: Context
    ) -> worker_pb2.WorkerStatus:
        async with problems(context):
            await self._control.unload_model(request.name, request.version or None)
            return _to_status(self._control.status())

    async def Drain(
        self, request: worker_pb2.DrainRequest, context: Context
    ) -> worker_pb2.WorkerStatus:
        del request
        async with problems(context):
            self._control.drain_soon()
            return _to_status(self._control.status())

    async def Status(
        self, request: worker_pb2.StatusRequest, context: Context
    ) -> worker_pb2.WorkerStatus:
        del request
        async with problems(context):
            return _to_status(self._control.status())


def worker_service(control: WorkerControl) -> MoreServices:
    """The service, to be added to a server."""
    name = worker_pb2.DESCRIPTOR.services_by_name["WorkerService"].full_name
    adder = worker_pb2_grpc.add_WorkerServiceServicer_to_server
    return MoreServices(adder, WorkerServicer(control), name)


def _to_status(status: WorkerStatus) -> worker_pb2.WorkerStatus:
    worker = status.worker
    return worker_pb2.WorkerStatus(
        worker=model_pb2.WorkerRef(name=worker.name, device=worker.device, grpc=worker.grpc),
        state=status.state,
        models=[_to_loaded(entry) for entry in status.entries],
        num_waiting=status.num_waiting,
        num_running=status.num_running,
        uptime_s=status.uptime_s,
    )


def _to_loaded(entry: ModelEntry) -> worker_pb2.LoadedModel:
    manifest = entry.artifact.manifest
    return worker_pb2.LoadedModel(
        model=model_pb2.ModelRef(
            name=manifest.name, version=manifest.version, digest=entry.artifact.digest
        ),
        ready=entry.ready,
        fault=entry.fault or "",
    )

"""From a repository of artifacts to a worker that serves them."""

import logging
from collections.abc import Callable, Collection
from functools import partial
from typing import NamedTuple

from certisolve_server.artifacts import ArtifactError, scan
from certisolve_server.catalog import Catalog, ModelEntry, WorkerRef
from certisolve_server.doors import StartupError
from certisolve_server.engines import AbstractDevice, ProgramError, load_engine, open_device
from certisolve_server.jobs import Artifact
from certisolve_server.settings import Settings
from certisolve_server.worker import CertifyOptions, ProverOptions, Worker

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


def open_catalog(settings: Settings) -> Catalog:
    """The artifacts of the repository that are to be loaded, none of them yet.

    Raises:
        StartupError: no repository, or no such model in it.
    """
    artifacts = scan_repository(settings)
    wanted = [name.strip() for name in settings.load.split(",") if name.strip()]
    _check_wanted(wanted, {artifact.manifest.name for artifact in artifacts}, settings)
    catalog = Catalog()
    for artifact in artifacts:
        if not wanted or artifact.manifest.name in wanted:
            catalog.put(ModelEntry(artifact))
    return catalog


def scan_repository(settings: Settings) -> list[Artifact]:
    """Every sound artifact of the repository.

    Raises:
        StartupError: there is no such repository.
    """
    try:
        found = scan(settings.models)
    except ArtifactError as error:
        raise StartupError(str(error)) from error
    for path, fault in found.faults.items():
        _log.error("artifact_refused path=%s fault=%s", path, fault)
    return list(found.artifacts)


def open_compute_device(settings: Settings) -> AbstractDevice:
    """The device that the settings name.

    Raises:
        StartupError: there is none of that name.
    """
    try:
        return open_device(settings.device, num_threads=settings.num_threads)
    except ValueError as error:
        raise StartupError(str(error)) from error


def certify_options(settings: Settings) -> CertifyOptions:
    """How a worker certifies."""
    return CertifyOptions(
        settings.certify_concurrency,
        ProverOptions(settings.certify_threads, settings.max_certify_bytes),
        settings.certificate_cache_bytes,
    )


async def load_all(
    worker: Worker,
    device: AbstractDevice,
    catalog: Catalog,
    where: WorkerRef,
    on_progress: Callable[[Progress], None],
) -> int:
    """Load every model of the catalog, which is told of each; how many are served."""
    entries = list(catalog)
    on_progress(Progress(0, len(entries)))
    for done, entry in enumerate(entries, 1):
        fault = await load(worker, device, entry.artifact)
        catalog.put(settled(entry.artifact, fault, where))
        on_progress(Progress(done, len(entries), entry.artifact.manifest.name, fault))
    return sum(entry.ready for entry in catalog)


async def load(worker: Worker, device: AbstractDevice, artifact: Artifact) -> str | None:
    """Load one artifact; why it cannot be served, None when it can."""
    try:
        await worker.load(partial(load_engine, artifact, device))
    except ProgramError as error:
        _log.error("model_refused model=%s fault=%s", artifact.manifest.name, error)
        return str(error)
    return None


def settled(artifact: Artifact, fault: str | None, where: WorkerRef) -> ModelEntry:
    """What the catalog says of an artifact that was loaded, or could not be."""
    if fault is not None:
        return ModelEntry(artifact, fault=fault)
    return ModelEntry(artifact, ready=True, workers=(where,))


def _check_wanted(wanted: Collection[str], known: Collection[str], settings: Settings) -> None:
    for name in wanted:
        if name not in known:
            raise StartupError(
                f"--load {name}: {settings.models} has {', '.join(sorted(known)) or 'no models'}"
            )

"""The models a server knows, where each is loaded, and whether it may be asked."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from .errors import ModelNotReady, UnknownModel, UnknownVersion
from .jobs import Artifact, ModelKey

#: Artifacts that are served no more, kept to read results of theirs; the oldest go first.
_MAX_RETIRED = 512


@dataclass(frozen=True, slots=True)
class WorkerRef:
    """A process that owns one device.

    Attributes:
        name: unique in its fleet.
        device: `cpu`, `cuda:0`.
        grpc: host:port of its services, as it announces them.
    """

    name: str
    device: str
    grpc: str


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """One version of one model.

    Attributes:
        ready: whether a worker has loaded it.
        fault: why it never will be; None while there is hope.
        workers: that have loaded it.
    """

    artifact: Artifact
    ready: bool = False
    fault: str | None = None
    workers: tuple[WorkerRef, ...] = ()


class Catalog:
    """Entries by name and version; the newest that is ready answers when none is asked for.

    What was listed once is recalled by its digest afterwards, so that results stay readable while
    a fleet moves on to other artifacts.
    """

    def __init__(self) -> None:
        self._versions: dict[str, dict[str, ModelEntry]] = {}
        self._seen: dict[ModelKey, Artifact] = {}

    def put(self, entry: ModelEntry) -> None:
        """Add an entry, or replace the one of the same name and version."""
        self._remember(entry.artifact)
        name, version, _ = entry.artifact.key
        self._versions[name] = _in_order({**self._versions.get(name, {}), version: entry})

    def replace(self, entries: Iterable[ModelEntry]) -> None:
        """Swap the whole content in one go.

        Args:
            entries: one per artifact. Among artifacts that go by one name and version, as during
                a rollout, the one that is ready on most workers is found.
        """
        chosen: dict[str, dict[str, ModelEntry]] = {}
        for entry in sorted(entries, key=_prevalence):
            self._remember(entry.artifact)
            name, version, _ = entry.artifact.key
            chosen.setdefault(name, {})[version] = entry
        self._versions = {name: _in_order(versions) for name, versions in chosen.items()}
        self._forget_retired()

    def find(self, name: str, version: str | None = None) -> ModelEntry:
        """The entry of that name and version, or of the newest version that is ready.

        Raises:
            UnknownModel: no such name.
            UnknownVersion: no such version of it.
        """
        versions = self._versions.get(name)
        if not versions:
            known = ", ".join(sorted(self._versions)) or "none"
            raise UnknownModel(f"no model {name!r}; this server has: {known}", field="model")
        entry = _newest(versions) if version is None else versions.get(version)
        if entry is None:
            raise UnknownVersion(
                f"no version {version!r} of {name}; there is: {', '.join(versions)}",
                field="version",
            )
        return entry

    def recall(self, key: ModelKey) -> Artifact:
        """The very artifact that a job ran on, whether or not it is served now.

        Raises:
            ModelNotReady: it was never listed here, or long ago.
        """
        artifact = self._seen.get(key)
        if artifact is None:
            raise ModelNotReady(
                f"the job ran on {key.name} {key.version} of digest {key.digest or 'unknown'}, "
                "which no worker serves now; its result can be read once one does"
            )
        return artifact

    def __iter__(self) -> Iterator[ModelEntry]:
        for _, versions in sorted(self._versions.items()):
            yield from versions.values()

    def _remember(self, artifact: Artifact) -> None:
        # Out and in again: the order is that of the last time each was listed.
        self._seen.pop(artifact.key, None)
        self._seen[artifact.key] = artifact

    def _forget_retired(self) -> None:
        num_listed = sum(len(versions) for versions in self._versions.values())
        while len(self._seen) > num_listed + _MAX_RETIRED:
            del self._seen[next(iter(self._seen))]


def _prevalence(entry: ModelEntry) -> tuple[bool, int, str]:
    return entry.ready, len(entry.workers) if entry.ready else 0, entry.artifact.digest


def _newest(versions: dict[str, ModelEntry]) -> ModelEntry:
    # A version that is still on its way to the workers must not turn requests away.
    newest = next(reversed(versions.values()))
    if newest.ready:
        return newest
    return next((entry for entry in reversed(versions.values()) if entry.ready), newest)


def _in_order(versions: dict[str, ModelEntry]) -> dict[str, ModelEntry]:
    return dict(sorted(versions.items(), key=lambda item: _order(item[0])))


def _order(version: str) -> tuple[tuple[int, str], ...]:
    # 2 before 10, as people number.
    parts = version.replace("-", ".").split(".")
    return tuple((int(p), "") if p.isdigit() else (0, p) for p in parts)

"""The models a server knows, and whether each may be asked."""

from collections.abc import Iterator
from dataclasses import dataclass

from .errors import UnknownModel, UnknownVersion
from .jobs import Artifact


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """One version of one model.

    Attributes:
        ready: whether a worker has loaded it.
        fault: why it never will be; None while there is hope.
    """

    artifact: Artifact
    ready: bool = False
    fault: str | None = None


class Catalog:
    """Entries by name and version; the newest version answers when none is asked for."""

    def __init__(self) -> None:
        self._versions: dict[str, dict[str, ModelEntry]] = {}

    def put(self, entry: ModelEntry) -> None:
        """Add an entry, or replace the one of the same name and version."""
        name, version = entry.artifact.key
        versions = {**self._versions.get(name, {}), version: entry}
        self._versions[name] = dict(sorted(versions.items(), key=lambda item: _order(item[0])))

    def find(self, name: str, version: str | None = None) -> ModelEntry:
        """The entry of that name and version, or of the newest version.

        Raises:
            UnknownModel: no such name.
            UnknownVersion: no such version of it.
        """
        versions = self._versions.get(name)
        if not versions:
            known = ", ".join(sorted(self._versions)) or "none"
            raise UnknownModel(f"no model {name!r}; this server has: {known}", field="model")
        newest = next(reversed(versions))
        entry = versions.get(newest if version is None else version)
        if entry is None:
            raise UnknownVersion(
                f"no version {version!r} of {name}; there is: {', '.join(versions)}",
                field="version",
            )
        return entry

    def __iter__(self) -> Iterator[ModelEntry]:
        for _, versions in sorted(self._versions.items()):
            yield from versions.values()


def _order(version: str) -> tuple[tuple[int, str], ...]:
    # 2 before 10, as people number.
    parts = version.replace("-", ".").split(".")
    return tuple((int(p), "") if p.isdigit() else (0, p) for p in parts)

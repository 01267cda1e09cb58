"""A repository of artifacts: `<root>/<model>/<version>/manifest.json` and the files it names."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from safetensors import SafetensorError
from safetensors.numpy import load_file

from certisolve.manifest import Manifest, ManifestError
from certisolve_server.jobs import Array, Artifact

GOLDEN_FILE = "golden.safetensors"
_MANIFEST_FILE = "manifest.json"


class ArtifactError(Exception):
    """An artifact that must not be served; the message names the file and the fault."""


class GoldenCase(NamedTuple):
    """Inputs, and the outputs the loaded program must reproduce, each with a batch dimension."""

    name: str
    inputs: dict[str, Array]
    outputs: dict[str, Array]


class Scan(NamedTuple):
    """What a repository holds: artifacts fit to serve, and the faults of the others by path."""

    artifacts: list[Artifact]
    faults: dict[str, str]


def scan(root: Path) -> Scan:
    """Every artifact below `root`, in the order of names and versions.

    Raises:
        ArtifactError: `root` is not a directory.
    """
    if not root.is_dir():
        raise ArtifactError(f"{root}: no such model repository; build one or pass --models DIR")
    found = Scan([], {})
    for manifest in sorted(root.glob(f"*/*/{_MANIFEST_FILE}")):
        try:
            found.artifacts.append(read_artifact(manifest.parent))
        except ArtifactError as error:
            found.faults[str(manifest.parent.relative_to(root))] = str(error)
    return found


def read_artifact(directory: Path) -> Artifact:
    """The artifact in `directory`, every file compared with its SHA-256.

    Raises:
        ArtifactError: manifest malformed, misplaced, or a file missing or altered.
    """
    try:
        document = (directory / _MANIFEST_FILE).read_bytes()
        manifest = Manifest.from_json(document)
    except (OSError, ManifestError) as error:
        raise ArtifactError(f"{directory / _MANIFEST_FILE}: {error}") from error
    if (directory.parent.name, directory.name) != (manifest.name, manifest.version):
        raise ArtifactError(
            f"{directory}: the manifest says {manifest.name}/{manifest.version}; move it there"
        )
    for name, expected in manifest.files.items():
        _check_digest(directory / name, expected)
    digest = hashlib.sha256(document).hexdigest()
    return Artifact(manifest, digest, str(directory.resolve()))


def golden_cases(artifact: Artifact) -> Iterator[GoldenCase]:
    """The golden inputs and outputs, a case per validated resolution.

    Raises:
        ArtifactError: the file is missing, malformed or holds no case.
    """
    path = Path(artifact.directory) / GOLDEN_FILE
    if GOLDEN_FILE not in artifact.manifest.files:
        raise ArtifactError(f"{path}: the manifest does not name it in files")
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ArtifactError(f"{path}: {error}") from error
    cases: dict[str, GoldenCase] = {}
    for key, array in tensors.items():
        match key.split("/"):
            case [name, "inputs" | "outputs" as side, tensor]:
                case_ = cases.setdefault(name, GoldenCase(name, {}, {}))
                getattr(case_, side)[tensor] = array
            case _:
                raise ArtifactError(f"{path}: {key!r} is not <case>/inputs|outputs/<name>")
    if len(cases) < len(artifact.manifest.resolutions):
        raise ArtifactError(f"{path}: needs a case for every validated resolution")
    yield from cases.values()


def _check_digest(path: Path, expected: str) -> None:
    try:
        with path.open("rb") as file:
            actual = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ArtifactError(f"{path}: {error}") from error
    if actual != expected:
        raise ArtifactError(f"{path}: SHA-256 is {actual}, the manifest says {expected}")

"""What was measured about a model's weights, kept in git beside them as JSON.

Training and measuring take minutes to hours, building an artifact seconds: the build only copies
these numbers into the manifest.
"""

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import nn

from certisolve.manifest import Baseline, Training, ValidatedResolution

from .spec import ModelSpec

WEIGHTS = Path(__file__).parents[1] / "weights"


class StaleRecordError(ValueError):
    """A record describes other weights than those beside it."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """Measurements of one set of weights.

    Attributes:
        weights_sha256: of the weights that were measured.
    """

    weights_sha256: str
    resolutions: tuple[ValidatedResolution, ...]
    training: Training
    baselines: tuple[Baseline, ...] = ()

    def save(self, folder: Path, name: str) -> None:
        """Write `<name>.json`."""
        document = json.dumps(dataclasses.asdict(self), indent=2, ensure_ascii=False)
        (folder / f"{name}.json").write_text(document + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path, name: str) -> "Record":
        """Read `<name>.json`, of whatever weights it is."""
        return _decoded(json.loads((folder / f"{name}.json").read_text(encoding="utf-8")))

    @classmethod
    def load(cls, folder: Path, name: str) -> "Record":
        """Read `<name>.json`.

        Raises:
            StaleRecordError: the weights changed since they were measured.
        """
        record = cls.read(folder, name)
        if record.weights_sha256 != weights_digest(folder, name):
            raise StaleRecordError(f"{name}: weights changed; run `evaluate {name}`")
        return record


def weights_digest(folder: Path, name: str) -> str:
    """SHA-256 of `<name>.safetensors` in hex."""
    return hashlib.sha256((folder / f"{name}.safetensors").read_bytes()).hexdigest()


def load_model(spec: ModelSpec, folder: Path) -> nn.Module:
    """The trained network, ready for inference."""
    model = spec.architecture()
    model.load_state_dict(load_file(folder / f"{spec.name}.safetensors"))
    return model.eval().requires_grad_(False)


def _decoded(document: dict[str, Any]) -> Record:
    return Record(
        weights_sha256=document["weights_sha256"],
        resolutions=tuple(_resolution(entry) for entry in document["resolutions"]),
        training=Training(**document["training"]),
        baselines=tuple(Baseline(**entry) for entry in document["baselines"]),
    )


def _resolution(entry: dict[str, Any]) -> ValidatedResolution:
    times = {key: tuple(entry.get(key, ())) for key in ("t", "error_at_t")}
    return ValidatedResolution(**(entry | times))

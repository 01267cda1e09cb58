"""An artifact on disk: program, golden tensors and manifest in one folder.

`<out>/<model>/<version>/` holds `manifest.json`, the programs it names, and `golden.safetensors`.
"""

import base64
import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from certisolve import wire
from certisolve.manifest import Manifest, TensorSpec

GOLDEN_FILE, MANIFEST_FILE = "golden.safetensors", "manifest.json"
EXAMPLE_FILE = "example.json"
GOLDEN_BATCH = 2
#: Chaos would amplify roundings: the first frames pin a program down that advances in time.
GOLDEN_FRAMES = 3
# Other processors and runtimes sum in another order: a factor over what is measured here, and a
# floor of some ten roundings of float32.
_BATCH_SAFETY, _BATCH_FLOOR = 10.0, 1e-6
#: Numbers of a tensor that are written out in an example; more go as base64.
_MAX_LISTED = 1 << 14


@contextlib.contextmanager
def replacing(out: Path, name: str, version: str) -> Iterator[Path]:
    """A folder to fill, which takes the place of `<out>/<name>/<version>` when all went well.

    Until then it lies where no server looks, at `<out>/.<name>-<version>/<name>/<version>`.
    """
    staging = out / f".{name}-{version}"
    shutil.rmtree(staging, ignore_errors=True)
    draft = staging / name / version
    draft.mkdir(parents=True)
    try:
        yield draft
        folder = out / name / version
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(exist_ok=True)
        draft.rename(folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def golden_case(sizes: Mapping[str, int]) -> str:
    """Name of a resolution in `golden.safetensors`: `x=256`, `y=43,x=43`, or `default`."""
    return ",".join(f"{axis}={size}" for axis, size in sizes.items()) or "default"


def golden_tensors(
    case: str,
    inputs: Mapping[str, Tensor],
    outputs: Sequence[Tensor],
    specs: Sequence[TensorSpec],
    *,
    advances: bool,
) -> dict[str, Tensor]:
    """The first samples of a case, by their names in the file.

    Args:
        case: of `golden_case`.
        inputs: and parameters that the program takes, by name.
        outputs: the answers to them.
        specs: of the outputs.
        advances: whether outputs have an axis of times after that of the batch.
    """
    tensors = {
        f"{case}/inputs/{name}": _own(tensor[:GOLDEN_BATCH]) for name, tensor in inputs.items()
    }
    for spec, output in zip(specs, outputs, strict=True):
        kept = output[:GOLDEN_BATCH, :GOLDEN_FRAMES] if advances else output[:GOLDEN_BATCH]
        tensors[f"{case}/outputs/{spec.name}"] = _own(kept)
    return tensors


def _own(tensor: Tensor) -> Tensor:
    """A copy: an output may share memory with its input, or with more samples."""
    return tensor.clone(memory_format=torch.contiguous_format)


def save_golden(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write the golden tensors."""
    path = folder / GOLDEN_FILE
    save_file(dict(tensors), path)
    # safetensors writes files that only their owner reads.
    mask = os.umask(0)
    os.umask(mask)
    path.chmod(0o666 & ~mask)


def save_example(
    folder: Path, inputs: Mapping[str, Tensor], parameters: Mapping[str, float]
) -> None:
    """Write a request that the model answers, as JSON to be posted.

    Args:
        folder: of the artifact.
        inputs: of one request, by name.
        parameters: of it, by name.
    """
    request = {"inputs": {name: _json(tensor) for name, tensor in inputs.items()}}
    document = json.dumps({**request, "parameters": dict(parameters)})
    (folder / EXAMPLE_FILE).write_text(document + "\n", encoding="utf-8")


def _json(tensor: Tensor) -> Any:
    if tensor.numel() <= _MAX_LISTED:
        return tensor.tolist()
    array = tensor.contiguous().numpy()
    data = base64.b64encode(wire.to_bytes(array)).decode()
    return {"shape": list(array.shape), "dtype": wire.dtype_name(array), "data": data}


def batch_tolerance(deviation: float) -> float:
    """The tolerance to state for a measured `batch_deviation`."""
    return max(_BATCH_FLOOR, _BATCH_SAFETY * deviation)


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 in hex of every file but the manifest, by name."""
    paths = [path for path in sorted(folder.iterdir()) if path.name != MANIFEST_FILE]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def save_manifest(folder: Path, manifest: Manifest) -> None:
    """Write `manifest.json`, the last file of an artifact."""
    (folder / MANIFEST_FILE).write_text(manifest.to_json(), encoding="utf-8")

"""A model that returns its input: what it costs to serve is the cost of the doors alone."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file
from torch import Tensor, nn

from certisolve.manifest import Axis, Manifest, Program, TensorSpec, ValidatedResolution

NAME = "identity"
SIZES = {"y": 64, "x": 64}
_AXIS = Axis(kind="grid", lower=0.0, upper=1.0, convention="periodic", boundary="periodic")
_AXES = ("y", "x")
_FILES = ("program.pt2", "golden.safetensors")


class _Identity(nn.Module):
    def forward(self, u0: Tensor) -> Tensor:
        return u0.clone()


def write_identity(root: Path, name: str = NAME, sizes: Mapping[str, int] = SIZES) -> None:
    """Write the artifact under `root`.

    Args:
        root: of the repository.
        name: of the model.
        sizes: of its one resolution.
    """
    directory = root / name / "1"
    directory.mkdir(parents=True)
    fields = np.random.default_rng(0).standard_normal((2, *sizes.values())).astype(np.float32)
    program = torch.export.export(
        _Identity(), (torch.from_numpy(fields),), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},)
    )
    # Stored as a pickle, which servers refuse.
    program._example_inputs = None
    torch.export.save(program, directory / "program.pt2")
    case = ",".join(f"{axis}={size}" for axis, size in sizes.items())
    golden = {f"{case}/inputs/u0": fields, f"{case}/outputs/u": fields}
    save_file(golden, directory / "golden.safetensors")
    (directory / "manifest.json").write_text(_manifest(directory, name, sizes).to_json())


def _manifest(directory: Path, name: str, sizes: Mapping[str, int]) -> Manifest:
    digests = {f: hashlib.sha256((directory / f).read_bytes()).hexdigest() for f in _FILES}
    return Manifest(
        name=name,
        version="1",
        title="Identity",
        description="Returns its input.",
        equation="u = u0",
        family="map",
        licence="Apache-2.0",
        program=Program(format="torch.export", file="program.pt2"),
        axes=dict.fromkeys(_AXES, _AXIS),
        inputs=(TensorSpec(name="u0", dtype="F32", axes=_AXES, description="field"),),
        outputs=(TensorSpec(name="u", dtype="F32", axes=_AXES, description="the same field"),),
        resolutions=(
            ValidatedResolution(
                sizes=sizes, error=0.0, worst_error=0.0, metric="rel_l2", num_samples=2
            ),
        ),
        unvalidated_resolution="refuse",
        batch_tolerance=1e-6,
        golden_tolerance=1e-6,
        max_batch_size=64,
        files=digests,
    )

"""Small artifacts for tests: any module becomes a model on disk."""

import hashlib
import io
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save_file
from torch import Tensor, nn

from certisolve import wire
from certisolve.manifest import (
    Axis,
    Manifest,
    ParameterSpec,
    Program,
    TensorSpec,
    ValidatedResolution,
)

PERIODIC = Axis(kind="grid", lower=0.0, upper=1.0, convention="periodic", boundary="periodic")
POINTS = Axis(kind="points", minimum=1, maximum=4096)


class Pointwise(nn.Module):
    """A function of the inputs, without weights."""

    def __init__(self, function: Callable[..., Tensor | tuple[Tensor, ...]]) -> None:
        super().__init__()
        self._function = function

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        return self._function(*inputs)


def field_manifest(name: str, **changes: Any) -> Manifest:
    """The manifest of a model that takes u0(x) and returns u(x) on 16 or 32 points."""
    spec: dict[str, Any] = {
        "name": name,
        "version": "1",
        "title": name,
        "description": "a model for tests",
        "equation": "u = f(u0)",
        "family": "map",
        "licence": "Apache-2.0",
        "program": Program(format="torch.export", file="program.pt2"),
        "axes": {"x": PERIODIC},
        "inputs": (TensorSpec(name="u0", dtype="F32", axes=("x",), description="field at t = 0"),),
        "outputs": (TensorSpec(name="u", dtype="F32", axes=("x",), description="field at t = 1"),),
        "resolutions": tuple(
            ValidatedResolution(
                sizes={"x": size}, error=0.01, worst_error=0.02, metric="rel_l2", num_samples=3
            )
            for size in (16, 32)
        ),
        "unvalidated_resolution": "refuse",
        "batch_tolerance": 1e-6,
        "golden_tolerance": 1e-5,
        "max_batch_size": 32,
        "files": {"program.pt2": ""},
        "t": (1.0,),
    }
    return Manifest(**(spec | changes))


def parameter(name: str, minimum: float, maximum: float, default: float) -> ParameterSpec:
    """A parameter that the program takes."""
    return ParameterSpec(
        name=name,
        minimum=minimum,
        maximum=maximum,
        default=default,
        description=name,
        program_input=True,
    )


def write_artifact(
    root: Path,
    module: nn.Module,
    manifest: Manifest,
    *,
    answer: Callable[..., Tensor | tuple[Tensor, ...]] | None = None,
    example: Sequence[Tensor] | None = None,
    others: Mapping[str, tuple[nn.Module, Sequence[Tensor]]] | None = None,
) -> Path:
    """Export `module` under `root` as the model that `manifest` describes; its directory.

    Args:
        root: the repository.
        module: becomes `program.pt2`.
        manifest: its files and digests are filled in.
        answer: from golden inputs to golden outputs; None for the module.
        example: inputs of the module; None for golden inputs.
        others: further programs by file, with example inputs.
    """
    directory = root / manifest.name / manifest.version
    directory.mkdir(parents=True)
    goldens: dict[str, NDArray[Any]] = {}
    for resolution in manifest.resolutions:
        inputs = _golden_inputs(manifest, resolution.sizes)
        returned = (answer or module)(*(torch.from_numpy(array) for array in inputs.values()))
        outputs = returned if isinstance(returned, tuple) else (returned,)
        case = ",".join(f"{k}={v}" for k, v in resolution.sizes.items()) or "default"
        goldens |= {f"{case}/inputs/{name}": array for name, array in inputs.items()}
        for spec, output in zip(manifest.outputs, outputs, strict=False):
            goldens[f"{case}/outputs/{spec.name}"] = output.detach().numpy()
    golden = _golden_inputs(manifest, manifest.resolutions[0].sizes)
    export_pt2(
        directory / "program.pt2", module, example or tuple(map(torch.from_numpy, golden.values()))
    )
    for file, (other, taken) in (others or {}).items():
        export_pt2(directory / file, other, taken)
    save_file(
        {k: np.ascontiguousarray(v) for k, v in goldens.items()}, directory / "golden.safetensors"
    )
    seal(directory, manifest)
    return directory


def export_pt2(path: Path, module: nn.Module, example: Sequence[Tensor]) -> None:
    """A `.pt2` with every dimension dynamic but channels, and no pickled sample inputs.

    Beyond the batch, a size of 2 is a number of channels.
    """
    dims = torch.export.Dim
    dynamic = tuple(
        {d: dims.STATIC if d and size == 2 else dims.DYNAMIC for d, size in enumerate(t.shape)}
        for t in example
    )
    program = torch.export.export(module, tuple(example), dynamic_shapes=(dynamic,))
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    with zipfile.ZipFile(buffer) as old, zipfile.ZipFile(path, "w") as new:
        for info in old.infolist():
            sample_inputs = "/data/sample_inputs/" in info.filename
            new.writestr(info.filename, b"" if sample_inputs else old.read(info))


def seal(directory: Path, manifest: Manifest) -> None:
    """Write the manifest with the digests of the files as they are."""
    files = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in directory.iterdir()
        if path.name != "manifest.json"
    }
    fields = {field: getattr(manifest, field) for field in manifest.__dataclass_fields__}
    (directory / "manifest.json").write_text(Manifest(**(fields | {"files": files})).to_json())


def _golden_inputs(manifest: Manifest, sizes: Mapping[str, int]) -> dict[str, NDArray[Any]]:
    rng = np.random.default_rng(0)
    inputs: dict[str, NDArray[Any]] = {}
    for spec in manifest.inputs:
        shape = [sizes.get(axis) or manifest.axes[axis].size or 4 for axis in spec.axes]
        inputs[spec.name] = rng.uniform(0.1, 0.9, (2, *shape)).astype(wire.DTYPES[spec.dtype])
    for parameter in manifest.parameters:
        if parameter.program_input:
            inputs[parameter.name] = np.full(2, parameter.default, np.float32)
    return inputs

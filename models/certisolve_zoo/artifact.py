"""The artifact of a model: manifest, program and golden tensors in one folder.

`<out>/<model>/<version>/` holds `manifest.json`, `program.pt2` or `program.onnx`,
`golden.safetensors` and `build.json`, the digest of all that the artifact was built from.
"""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from certisolve.manifest import Manifest, Program

from .evaluation import batch_deviation
from .export import export_program, save_onnx, save_torch_export
from .records import Record, load_model
from .spec import ModelSpec, Sizes

Format = Literal["torch.export", "onnx"]
PROGRAM_FILES: dict[Format, str] = {"torch.export": "program.pt2", "onnx": "program.onnx"}
GOLDEN_BATCH = 2
TOLERANCE_BATCH = 8
# Other processors and runtimes sum in another order: a factor over what is measured here, and a
# floor of some ten roundings of float32.
BATCH_SAFETY, BATCH_FLOOR = 10.0, 1e-6
GOLDEN_TOLERANCE = 1e-5


def build_artifact(
    spec: ModelSpec, weights: Path, out: Path, file_format: Format = "torch.export"
) -> tuple[Path, bool]:
    """Build the artifact of a model unless it is up to date.

    Args:
        spec: the model.
        weights: folder of the trained weights and their records.
        out: the repository of artifacts.
        file_format: of the program.

    Returns:
        the artifact's folder, and whether it was built just now.
    """
    folder = out / spec.name / spec.version
    digest = _source_digest(spec, weights, file_format)
    if _built_digest(folder) == digest:
        return folder, False
    draft = folder.with_name(f".{spec.version}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    _write(draft, spec, weights, file_format, digest)
    shutil.rmtree(folder, ignore_errors=True)
    draft.rename(folder)
    return folder, True


def golden_case(sizes: Sizes) -> str:
    """Name of a resolution in `golden.safetensors`: `x=256`, `y=43,x=43`, or `default`."""
    return ",".join(f"{axis}={size}" for axis, size in sizes.items()) or "default"


def _write(folder: Path, spec: ModelSpec, weights: Path, file_format: Format, digest: str) -> None:
    model = load_model(spec, weights)
    examples = spec.examples(TOLERANCE_BATCH)
    program_path = folder / PROGRAM_FILES[file_format]
    program = export_program(model, spec, examples[0])
    if file_format == "onnx":
        save_onnx(program, spec, program_path)
    else:
        save_torch_export(program, program_path)
    golden = folder / "golden.safetensors"
    save_file(_golden(model, spec, examples), golden)
    golden.chmod(program_path.stat().st_mode)  # safetensors writes files only their owner reads
    (folder / "build.json").write_text(json.dumps({"digest": digest}) + "\n", encoding="utf-8")
    with torch.inference_mode():
        deviation = batch_deviation(program.module(), examples)
    files = {path.name: _sha256(path) for path in sorted(folder.iterdir())}
    manifest = _manifest(spec, Record.load(weights, spec.name), file_format, deviation, files)
    (folder / "manifest.json").write_text(manifest.to_json(), encoding="utf-8")


def _golden(
    model: nn.Module, spec: ModelSpec, examples: list[tuple[Tensor, ...]]
) -> dict[str, Tensor]:
    tensors = {}
    for sizes, example in zip(spec.resolutions, examples, strict=True):
        inputs = [tensor[:GOLDEN_BATCH].contiguous() for tensor in example]
        with torch.inference_mode():
            output = model(*inputs)
        case = golden_case(sizes)
        for tensor_spec, tensor in zip(spec.inputs, inputs, strict=True):
            tensors[f"{case}/inputs/{tensor_spec.name}"] = tensor
        tensors[f"{case}/outputs/{spec.outputs[0].name}"] = output.contiguous()
    return tensors


def _manifest(
    spec: ModelSpec, record: Record, file_format: Format, deviation: float, files: dict[str, str]
) -> Manifest:
    return Manifest(
        name=spec.name,
        version=spec.version,
        title=spec.title,
        description=spec.description,
        equation=spec.equation,
        family="map",
        licence="Apache-2.0",
        program=Program(format=file_format, file=PROGRAM_FILES[file_format]),
        axes=spec.axes,
        inputs=spec.inputs,
        outputs=spec.outputs,
        parameters=spec.parameters,
        t=spec.t,
        resolutions=record.resolutions,
        unvalidated_resolution=spec.unvalidated_resolution,
        batch_tolerance=max(BATCH_FLOOR, BATCH_SAFETY * deviation),
        golden_tolerance=GOLDEN_TOLERANCE,
        max_batch_size=spec.max_batch_size,
        baselines=record.baselines,
        training=record.training,
        files=files,
    )


def _source_digest(spec: ModelSpec, weights: Path, file_format: Format) -> str:
    """SHA-256 over weights, record, the code of the package, the version of torch, the format."""
    package = sorted(Path(__file__).parent.rglob("*.py"))
    measured = [weights / f"{spec.name}{suffix}" for suffix in (".safetensors", ".json")]
    digests = [_sha256(path) for path in (*package, *measured)]
    return hashlib.sha256(" ".join([file_format, torch.__version__, *digests]).encode()).hexdigest()


def _built_digest(folder: Path) -> str | None:
    path = folder / "build.json"
    if not (folder / "manifest.json").exists() or not path.exists():
        return None
    return str(json.loads(path.read_text(encoding="utf-8"))["digest"])


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()

"""The artifact of a model: manifest, program and golden tensors in one folder.

`<out>/<model>/<version>/` holds `manifest.json`, `program.pt2` or `program.onnx`,
`golden.safetensors` and `build.json`, the digest of all that the artifact was built from; beside
them `operator.pt2` and `checks.pt2` for models that have them.
"""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from certisolve.manifest import Checks, Iteration, Manifest, Program

from .arguments import (
    Arguments,
    checks_axes,
    program_arguments,
    program_axes,
    system_arguments,
    system_axes,
)
from .evaluation import answer, batch_deviation
from .export import export_program, save_onnx, save_torch_export
from .records import Record, load_model
from .spec import ModelSpec, Sizes

Format = Literal["torch.export", "onnx"]
PROGRAM_FILES: dict[Format, str] = {"torch.export": "program.pt2", "onnx": "program.onnx"}
OPERATOR_FILE, CHECKS_FILE = "operator.pt2", "checks.pt2"
GOLDEN_BATCH = 2
GOLDEN_FRAMES = 3
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
    _write_programs(folder, spec, model, examples[0], file_format)
    golden = folder / "golden.safetensors"
    save_file(_golden(model, spec, examples), golden)
    # safetensors writes files that only their owner reads.
    golden.chmod((folder / PROGRAM_FILES[file_format]).stat().st_mode)
    (folder / "build.json").write_text(json.dumps({"digest": digest}) + "\n", encoding="utf-8")
    deviation = batch_deviation(model, spec, examples)
    files = {path.name: _sha256(path) for path in sorted(folder.iterdir())}
    manifest = _manifest(spec, model, weights, file_format, deviation, files)
    (folder / "manifest.json").write_text(manifest.to_json(), encoding="utf-8")


def _write_programs(
    folder: Path, spec: ModelSpec, model: nn.Module, inputs: Arguments, file_format: Format
) -> None:
    network, arguments = spec.served(model), program_arguments(spec, inputs)
    program = export_program(network, spec, arguments, program_axes(spec))
    if file_format == "onnx":
        save_onnx(program, spec, folder / PROGRAM_FILES[file_format])
    else:
        save_torch_export(program, folder / PROGRAM_FILES[file_format])
    if spec.system is not None:
        taken = system_arguments(spec, inputs)
        operator = export_program(spec.system.operator(), spec, taken, system_axes(spec))
        save_torch_export(operator, folder / OPERATOR_FILE)
    if spec.checks is not None:
        taken = (*inputs, *(tensor.contiguous() for tensor in answer(model, spec, inputs)))
        checks = export_program(spec.checks.module(model), spec, taken, checks_axes(spec))
        save_torch_export(checks, folder / CHECKS_FILE)


def _golden(model: nn.Module, spec: ModelSpec, examples: list[Arguments]) -> dict[str, Tensor]:
    tensors = {}
    for sizes, example in zip(spec.resolutions, examples, strict=True):
        inputs = [tensor[:GOLDEN_BATCH].contiguous() for tensor in example]
        case = golden_case(sizes)
        for tensor_spec, tensor in zip(spec.inputs, inputs, strict=True):
            tensors[f"{case}/inputs/{tensor_spec.name}"] = tensor
        for tensor_spec, tensor in zip(spec.outputs, answer(model, spec, inputs), strict=True):
            # Chaos would amplify roundings: the first frames pin the program down.
            kept = tensor[:, :GOLDEN_FRAMES] if spec.stepping else tensor
            tensors[f"{case}/outputs/{tensor_spec.name}"] = kept.contiguous()
    return tensors


def _manifest(
    spec: ModelSpec,
    model: nn.Module,
    weights: Path,
    file_format: Format,
    deviation: float,
    files: dict[str, str],
) -> Manifest:
    record = Record.load(weights, spec.name)
    return Manifest(
        name=spec.name,
        version=spec.version,
        title=spec.title,
        description=spec.description,
        equation=spec.equation,
        family=spec.family,
        licence="Apache-2.0",
        program=Program(format=file_format, file=PROGRAM_FILES[file_format]),
        axes=spec.axes,
        inputs=spec.inputs,
        outputs=spec.outputs,
        parameters=spec.parameters,
        t=spec.t,
        stepping=spec.stepping,
        feedback=spec.feedback(model) if spec.feedback else None,
        iteration=_iteration(spec),
        postprocess=spec.postprocess(model),
        checks=_checks(spec),
        resolutions=record.resolutions,
        unvalidated_resolution=spec.unvalidated_resolution,
        batch_tolerance=max(BATCH_FLOOR, BATCH_SAFETY * deviation),
        golden_tolerance=GOLDEN_TOLERANCE,
        max_batch_size=spec.max_batch_size,
        baselines=record.baselines,
        training=record.training,
        files=files,
    )


def _iteration(spec: ModelSpec) -> Iteration | None:
    if spec.system is None:
        return None
    return Iteration(
        operator=Program(format="torch.export", file=OPERATOR_FILE),
        right_hand_side=spec.system.right_hand_side,
        tolerance=spec.system.tolerance,
        smallest_tolerance=spec.system.smallest_tolerance,
        max_iterations=spec.system.max_iterations,
    )


def _checks(spec: ModelSpec) -> Checks | None:
    if spec.checks is None:
        return None
    program = Program(format="torch.export", file=CHECKS_FILE)
    return Checks(program=program, names=spec.checks.names)


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

"""The artifact of a model: manifest, program and golden tensors in one folder.

`<out>/<model>/<version>/` holds `manifest.json`, `program.pt2` or `program.onnx`,
`golden.safetensors` and `build.json`, the digest of all that the artifact was built from; beside
them `operator.pt2` and `checks.pt2` for models that have them.
"""

import hashlib
import json
from pathlib import Path

import torch
from torch import Tensor, nn

import certisolve_export
from certisolve.manifest import Checks, Iteration, Manifest, Program
from certisolve_export import layout
from certisolve_export.archive import save_torch_export
from certisolve_export.draft import GOLDEN_TOLERANCE, PROGRAM_FILES, Format

from .arguments import (
    Arguments,
    checks_axes,
    program_arguments,
    program_axes,
    system_arguments,
    system_axes,
)
from .evaluation import answer, batch_deviation
from .export import export_program, save_onnx
from .records import Record, load_model
from .spec import ModelSpec

OPERATOR_FILE, CHECKS_FILE = "operator.pt2", "checks.pt2"
TOLERANCE_BATCH = 8
#: In units of the relative tolerance of a step, how far integrations of other steps are apart: over
#: the golden frames, and over all of them. In a batch roundings differ, and with them the steps.
_GOLDEN_APART, _BATCH_APART = 10.0, 100.0


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
    with layout.replacing(out, spec.name, spec.version) as draft:
        _write(draft, spec, weights, file_format, digest)
    return folder, True


def _write(folder: Path, spec: ModelSpec, weights: Path, file_format: Format, digest: str) -> None:
    model = load_model(spec, weights)
    examples = spec.examples(TOLERANCE_BATCH)
    _write_programs(folder, spec, model, examples[0], file_format)
    layout.save_golden(folder, _golden(model, spec, examples))
    (folder / "build.json").write_text(json.dumps({"digest": digest}) + "\n", encoding="utf-8")
    deviation = batch_deviation(model, spec, examples)
    files = layout.digests(folder)
    layout.save_manifest(folder, _manifest(spec, model, weights, file_format, deviation, files))


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
    tensors: dict[str, Tensor] = {}
    for sizes, example in zip(spec.resolutions, examples, strict=True):
        inputs = [tensor[: layout.GOLDEN_BATCH] for tensor in example]
        tensors |= layout.golden_tensors(
            layout.golden_case(sizes),
            dict(zip(spec.input_names, inputs, strict=True)),
            answer(model, spec, inputs),
            spec.outputs,
            advances=spec.advances,
        )
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
        integration=spec.integration,
        feedback=spec.feedback(model) if spec.feedback else None,
        iteration=_iteration(spec),
        postprocess=spec.postprocess(model),
        checks=_checks(spec),
        resolutions=record.resolutions,
        unvalidated_resolution=spec.unvalidated_resolution,
        batch_tolerance=max(layout.batch_tolerance(deviation), _of_steps(spec, _BATCH_APART)),
        golden_tolerance=max(GOLDEN_TOLERANCE, _of_steps(spec, _GOLDEN_APART)),
        max_batch_size=spec.max_batch_size,
        baselines=record.baselines,
        training=record.training,
        files=files,
    )


def _of_steps(spec: ModelSpec, apart: float) -> float:
    """How much two integrations to the same tolerance may differ, by their steps alone."""
    return apart * spec.integration.rtol if spec.integration else 0.0


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
    """SHA-256 over weights, record, the code of the packages, the version of torch, the format."""
    packages = (Path(__file__).parent, Path(certisolve_export.__file__).parent)
    code = sorted(path for package in packages for path in package.rglob("*.py"))
    measured = [weights / f"{spec.name}{suffix}" for suffix in (".safetensors", ".json")]
    digests = [_sha256(path) for path in (*code, *measured)]
    return hashlib.sha256(" ".join([file_format, torch.__version__, *digests]).encode()).hexdigest()


def _built_digest(folder: Path) -> str | None:
    path = folder / "build.json"
    if not (folder / "manifest.json").exists() or not path.exists():
        return None
    return str(json.loads(path.read_text(encoding="utf-8"))["digest"])


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()

"""From a model and a draft of its manifest to an artifact that servers accept."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from torch import Tensor, nn
from torch.export import Dim

from certisolve.manifest import Manifest

from . import layout
from .answers import Program, answer, golden_answer, program_arguments, program_axes
from .draft import PROGRAM_FILES, Draft, Format, passed_parameters, read_draft
from .errors import GoldenMismatch
from .measurement import BATCH_SIZES, batch_deviation, deviation
from .portability import OperatorList
from .reference import check_measured, measured
from .samples import Samples, arguments, draw_samples, repeated, sizes_of
from .sizes import BATCH, Size
from .sources import ModuleSource, OnnxSource, Source, load_program
from .trials import check_trial

_NUM_EXAMPLES = max(BATCH_SIZES)
_FROZEN = (
    "the graph holds what Python computed for the example: branches on sizes, values kept from an "
    "earlier call, numbers that are no tensors; or it needs float64"
)


class Exported(NamedTuple):
    """What came of it.

    Attributes:
        folder: of the artifact.
        manifest: as it was written.
        notes: what its owner should know.
    """

    folder: Path
    manifest: Manifest
    notes: tuple[str, ...]


def export(
    model: nn.Module | Path | str,
    manifest: Draft,
    out: Path,
    *,
    file_format: Format = "torch.export",
    examples: Sequence[Samples] = (),
    reference: Sequence[Samples] = (),
    unmeasured: bool = False,
    is_listed: OperatorList | None = None,
    accept: Callable[[Path], None] | None = None,
    on_step: Callable[[str], None] = lambda step: None,
) -> Exported:
    """Make an artifact of a module or an ONNX file, or say why it cannot be one.

    The model is run on examples within the ranges of the manifest, traced, written, loaded again,
    and compared with itself at every resolution, alone and in batches of 2, 3 and 8.

    Args:
        model: in evaluation mode; or the path of an ONNX file.
        manifest: a draft, see `read_draft`: a `Manifest`, its JSON as a mapping, or a file.
        out: the repository; `<out>/<name>/<version>/` is written.
        file_format: of the program that is made of a module.
        examples: inputs to try it on, one entry per resolution; drawn where there are none.
        reference: unseen problems and their answers, from which the errors are measured; they are
            examples, too.
        unmeasured: whether a model without any error may be exported; its answers then say that it
            was never measured.
        is_listed: which ATen operators servers run; None to leave that to them.
        accept: given the finished artifact before it takes the place of an older one; raises to
            refuse it.
        on_step: told what is done next.

    Raises:
        ExportError: why not, and what to do about it.
    """
    file_format = file_format if isinstance(model, nn.Module) else "onnx"
    draft = read_draft(manifest, file_format)
    check_measured(draft, reference, unmeasured=unmeasured)
    on_step("try the model alone and in batches")
    source = _source(model, file_format)
    cases = _cases(draft, [*examples, *reference])
    source.check(draft, _varying(draft))
    for inputs in cases:
        _try(source.program(), draft, inputs)
    with layout.replacing(out, draft.name, draft.version) as folder:
        on_step(f"write the program as {file_format}")
        path = folder / PROGRAM_FILES[file_format]
        traced = program_arguments(
            draft, [tensor[: _batch_sizes(draft)[-1]] for tensor in cases[0]]
        )
        notes = source.write(path, draft, traced, _varying(draft), is_listed)
        on_step("compare it with the model")
        program = load_program(path, file_format)
        for inputs in cases:
            _compare(program, source.program(), draft, inputs)
        on_step("measure it")
        finished = _finished(folder, draft, program, cases, reference)
        layout.save_manifest(folder, finished)
        if accept is not None:
            on_step("load it as a server does")
            accept(folder)
    return Exported(out / draft.name / draft.version, finished, tuple(notes))


def _source(model: nn.Module | Path | str, file_format: Format) -> Source:
    if isinstance(model, nn.Module):
        return ModuleSource(model, file_format)
    return OnnxSource(Path(model))


def _cases(draft: Manifest, given: Sequence[Samples]) -> list[list[Tensor]]:
    """Inputs and parameters at every resolution."""
    known = [(sizes_of(samples, draft), samples) for samples in given]
    rng = np.random.default_rng(0)
    cases = []
    for resolution in draft.resolutions:
        found = (samples for sizes, samples in known if sizes == resolution.sizes)
        samples = next(found, None) or draw_samples(draft, resolution.sizes, _NUM_EXAMPLES, rng)
        cases.append(arguments(repeated(samples, _NUM_EXAMPLES), draft))
    return cases


def _varying(draft: Manifest) -> dict[str, Size]:
    """Axes along which the program has to take several sizes."""
    varying: dict[str, Size] = {}
    if draft.max_batch_size > 1:
        varying[BATCH] = Dim.DYNAMIC(min=1, max=draft.max_batch_size)
    for name, axis in draft.axes.items():
        sizes = [resolution.sizes.get(name, 0) for resolution in draft.resolutions]
        if axis.kind == "grid" and min(sizes) < max(sizes):
            varying[name] = Dim.DYNAMIC(min=min(sizes), max=max(sizes))
        elif axis.kind == "points" and axis.minimum != axis.maximum:
            varying[name] = Dim.DYNAMIC(min=axis.minimum, max=axis.maximum)
    return varying


def _batch_sizes(draft: Manifest) -> list[int]:
    return [size for size in (1, *BATCH_SIZES) if size <= draft.max_batch_size]


def _try(run: Program, draft: Manifest, inputs: Sequence[Tensor]) -> None:
    taken = program_arguments(draft, [tensor[: _batch_sizes(draft)[-1]] for tensor in inputs])
    sizes = {name: axis.size for name, axis in draft.axes.items() if axis.size}
    for axes, tensor in zip(program_axes(draft), taken, strict=True):
        sizes |= dict(zip(axes, tensor.shape, strict=True))
    check_trial(run, draft, taken, sizes)


def _compare(
    program: Program, original: Program, draft: Manifest, inputs: Sequence[Tensor]
) -> None:
    for size in _batch_sizes(draft):
        taken = program_arguments(draft, [tensor[:size] for tensor in inputs])
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in taken)
        try:
            difference = max(map(deviation, program(taken), original(taken)))
        except RuntimeError as error:
            line = str(error).strip().partition("\n")[0]
            raise GoldenMismatch(
                f"on inputs of shape {shapes} the program fails, and the module does not: {line}",
                _FROZEN,
            ) from error
        if not difference <= draft.golden_tolerance:
            raise GoldenMismatch(
                f"on inputs of shape {shapes} the program is off the module by {difference:.1e} "
                f"(relative L2), more than {draft.golden_tolerance:.0e}",
                _FROZEN,
            )


def _finished(
    folder: Path,
    draft: Manifest,
    program: Program,
    cases: Sequence[Sequence[Tensor]],
    reference: Sequence[Samples],
) -> Manifest:
    """The manifest with what was measured; golden tensors and an example are written before."""
    names = [spec.name for spec in draft.inputs] + [s.name for s in passed_parameters(draft)]
    kept = min(layout.GOLDEN_BATCH, draft.max_batch_size)
    golden: dict[str, Tensor] = {}
    for resolution, inputs in zip(draft.resolutions, cases, strict=True):
        few = [tensor[:kept] for tensor in inputs]
        golden |= layout.golden_tensors(
            layout.golden_case(resolution.sizes),
            dict(zip(names, few, strict=True)),
            golden_answer(program, draft, few),
            draft.outputs,
            advances=draft.stepping is not None,
        )
    layout.save_golden(folder, golden)
    _save_example(folder, draft, dict(zip(names, cases[0], strict=True)))
    worst = batch_deviation(
        lambda inputs: answer(program, draft, inputs), cases, _batch_sizes(draft)[1:]
    )
    return dataclasses.replace(
        draft,
        resolutions=measured(program, draft, reference),
        batch_tolerance=layout.batch_tolerance(worst),
        files=layout.digests(folder),
    )


def _save_example(folder: Path, draft: Manifest, taken: Mapping[str, Tensor]) -> None:
    fields = {spec.name: taken[spec.name][0] for spec in draft.inputs}
    scalars = {
        spec.name: float(taken[spec.name][0]) if spec.program_input else spec.default
        for spec in draft.parameters
    }
    layout.save_example(folder, fields, scalars)

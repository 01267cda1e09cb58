"""Programs of the zoo: real numbers only, and every size within the limits of their specs."""

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from certisolve_export.archive import save_onnx as save_named_onnx
from certisolve_export.portability import check_portable
from certisolve_export.sizes import BATCH
from certisolve_export.tracing import trace

from .spec import ModelSpec


def export_program(
    model: nn.Module,
    spec: ModelSpec,
    inputs: tuple[Tensor, ...],
    axes: Sequence[Sequence[str]] | None = None,
) -> ExportedProgram:
    """The network as a graph of ATen operators, for any batch and grid size within its limits.

    Args:
        model: in evaluation mode.
        spec: names the axes of the inputs and their limits.
        inputs: an example with a batch of at least two.
        axes: names of the inputs' axes after the batch; None for those of the spec's inputs.

    Raises:
        ExportError: the graph is fixed to a size, or holds an operator outside ATen or a complex
            tensor: every model of the zoo runs as ONNX, too.
    """
    taken = axes or [tensor.axes for tensor in spec.inputs]
    program = trace(model, inputs, [(BATCH, *each) for each in taken], _dimensions(spec))
    check_portable(program, allow_complex=False)
    return program


def save_onnx(program: ExportedProgram, spec: ModelSpec, path: Path) -> None:
    """Write one ONNX file, weights included, its inputs and outputs in the manifest's order.

    They have the manifest's names where a program takes what a request holds; where one returns the
    next value of an input, the two would have one name.
    """
    inputs, outputs = [each.name for each in spec.inputs], [each.name for each in spec.outputs]
    names = (inputs, outputs) if spec.family == "map" else (None, None)
    save_named_onnx(program, path, *names)


def _dimensions(spec: ModelSpec) -> dict[str, Dim]:
    """The sizes that a request may choose; a channel axis has one size only."""
    dimensions = {BATCH: Dim(BATCH, min=1, max=_most_rows(spec))}
    for name, axis in spec.axes.items():
        # A grid of one size only, as of sensors, is as fixed as a channel axis.
        if axis.kind == "grid" and spec.grid_limits[0] < spec.grid_limits[1]:
            dimensions[name] = _grid_dimension(name, spec)
        elif axis.kind == "points":
            dimensions[name] = Dim(name, min=axis.minimum, max=axis.maximum)
    if spec.stepping is not None:
        dimensions["t"] = Dim("t", min=1, max=spec.stepping.max_steps)
    return dimensions


def _most_rows(spec: ModelSpec) -> int:
    """Rows of one pass: a cascade has all its layers side by side."""
    layers = spec.stepping.max_steps if spec.family == "feedback-ode" and spec.stepping else 1
    return layers * spec.max_batch_size


def _grid_dimension(name: str, spec: ModelSpec) -> Dim:
    (smallest, largest), multiple = spec.grid_limits, spec.grid_multiple
    if multiple == 1:
        return Dim(name, min=smallest, max=largest)
    blocks = Dim(f"{name}_blocks", min=-(-smallest // multiple), max=largest // multiple)
    return multiple * blocks

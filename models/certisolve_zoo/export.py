"""Programs that any torch or ONNX runtime can load, and that carry nothing executable."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram, ShapesCollection

from .spec import ModelSpec

_SOURCE_TRACES = ("stack_trace", "nn_module_stack", "torch_fn", "source_fn_stack")


class ExportError(RuntimeError):
    """A program would not be portable; the message names the node."""


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
        ExportError: the graph holds an operator outside ATen or a complex tensor.
    """
    shapes = ShapesCollection()  # type: ignore[no-untyped-call]  # unannotated in torch
    dimensions = _dimensions(spec)
    for tensor_axes, tensor in zip(
        axes or [tensor.axes for tensor in spec.inputs], inputs, strict=True
    ):
        names = enumerate(("batch", *tensor_axes))
        shapes[tensor] = {axis: dimensions[name] for axis, name in names if name in dimensions}
    dynamic_shapes = shapes.dynamic_shapes(model, inputs)  # type: ignore[no-untyped-call]
    program = torch.export.export(model, inputs, dynamic_shapes=dynamic_shapes)
    _check_portable(program)
    _strip(program)
    return program


def save_torch_export(program: ExportedProgram, path: Path) -> None:
    """Write a `.pt2` archive of JSON and raw tensor bytes."""
    torch.export.save(program, path)


def save_onnx(program: ExportedProgram, spec: ModelSpec, path: Path) -> None:
    """Write one ONNX file, weights included, its inputs and outputs in the manifest's order.

    They have the manifest's names where a program takes what a request holds; where one returns the
    next value of an input, the two would have one name.
    """
    named = spec.family == "map"
    onnx_program = torch.onnx.export(
        program,
        input_names=[tensor.name for tensor in spec.inputs] if named else None,
        output_names=[tensor.name for tensor in spec.outputs] if named else None,
        dynamo=True,
        verbose=False,
    )
    if onnx_program is None:
        raise ExportError(f"{spec.name}: torch returned no ONNX program")
    onnx_program.save(path, external_data=False)


def _dimensions(spec: ModelSpec) -> dict[str, Dim]:
    """The sizes that a request may choose; a channel axis has one size only."""
    dimensions = {"batch": Dim("batch", min=1, max=spec.max_batch_size)}
    for name, axis in spec.axes.items():
        if axis.kind == "grid":
            dimensions[name] = _grid_dimension(name, spec)
        elif axis.kind == "points":
            dimensions[name] = Dim(name, min=axis.minimum, max=axis.maximum)
    if spec.stepping is not None:
        dimensions["t"] = Dim("t", min=1, max=spec.stepping.max_steps)
    return dimensions


def _grid_dimension(name: str, spec: ModelSpec) -> Dim:
    (smallest, largest), multiple = spec.grid_limits, spec.grid_multiple
    if multiple == 1:
        return Dim(name, min=smallest, max=largest)
    blocks = Dim(f"{name}_blocks", min=-(-smallest // multiple), max=largest // multiple)
    return multiple * blocks


def _check_portable(program: ExportedProgram) -> None:
    for node in program.graph.nodes:
        value = node.meta.get("val")
        if isinstance(value, Tensor) and value.is_complex():
            raise ExportError(f"{node.name} is complex")
        namespace = getattr(node.target, "namespace", "aten")
        if node.op == "call_function" and namespace != "aten":
            raise ExportError(f"{node.name} calls {node.target}, which is not an ATen operator")


def _strip(program: ExportedProgram) -> None:
    """Take out example inputs, stored as a pickle, traces of the source, and derived ranges.

    The range of `4*s` follows from that of `s`, and in an archive only names are keys.
    """
    program._example_inputs = None
    for size in [each for each in program.range_constraints if not each.is_Symbol]:
        del program.range_constraints[size]
    for node in program.graph.nodes:
        for key in _SOURCE_TRACES:
            node.meta.pop(key, None)

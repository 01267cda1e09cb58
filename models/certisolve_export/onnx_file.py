"""ONNX files that a user brings: read as servers read them, by onnxruntime."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from certisolve.manifest import Manifest

from .answers import Program, program_axes
from .draft import passed_parameters, states
from .errors import (
    ForeignOperator,
    SpecialisedBatch,
    SpecialisedGrid,
    UnreadableProgram,
    UnsupportedDtype,
)
from .sizes import BATCH, Size

_DTYPES = {"tensor(float)": "F32", "tensor(double)": "F64"}


def open_onnx(path: Path) -> Any:
    """The file as a session on the CPU.

    Raises:
        ForeignOperator: an operator of no standard domain.
        UnreadableProgram: onnxruntime does not load it, or weights lie in other files.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        # From bytes, as servers do: a graph can then not pull in other files.
        return onnxruntime.InferenceSession(
            path.read_bytes(), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:
        raise _unreadable(path, str(error)) from error


def as_program(session: Any) -> Program:
    """The session as a function of a batch of arguments."""
    names = [node.name for node in session.get_inputs()]

    def run(arguments: Sequence[Tensor]) -> Sequence[Tensor]:
        feed = dict(zip(names, (tensor.numpy() for tensor in arguments), strict=True))
        return tuple(map(torch.from_numpy, session.run(None, feed)))

    return run


def check_arguments(session: Any, manifest: Manifest, varying: dict[str, Size]) -> None:
    """Refuse a graph whose inputs are not the manifest's.

    Args:
        session: of the graph.
        manifest: what it promises.
        varying: axes along which it must take several sizes.

    Raises:
        UnreadableProgram: other inputs, or in another order.
        UnsupportedDtype: an input of another element type.
        SpecialisedDimension: an axis that must vary is fixed.
    """
    dtypes = {spec.name: spec.dtype for spec in (*manifest.inputs, *states(manifest))}
    dtypes |= {spec.name: "F32" for spec in passed_parameters(manifest)}
    wanted = list(dtypes)
    nodes = session.get_inputs()
    taken = [node.name for node in nodes]
    if len(taken) != len(wanted) or (set(taken) == set(wanted) and taken != wanted):
        raise UnreadableProgram(
            f"the graph takes ({', '.join(taken)}), the manifest lists ({', '.join(wanted)})",
            "list inputs, states and parameters in the order of the graph",
        )
    for dtype, node, axes in zip(dtypes.values(), nodes, program_axes(manifest), strict=True):
        if _DTYPES.get(node.type) != dtype:
            raise UnsupportedDtype(
                f"the graph takes {node.name} as {node.type}, the manifest says {dtype}",
                "correct the manifest, or export the graph with float32 or float64 inputs",
            )
        _check_shape(node, axes, varying)


def _check_shape(node: Any, axes: Sequence[str], varying: dict[str, Size]) -> None:
    if len(node.shape) != len(axes):
        raise UnreadableProgram(
            f"the graph takes {node.name} with {len(node.shape)} axes, the manifest lists "
            f"({', '.join(axes)})",
            "the first axis is the batch; correct the axes",
        )
    for axis, size in zip(axes, node.shape, strict=True):
        if axis in varying and isinstance(size, int):
            kind = SpecialisedBatch if axis == BATCH else SpecialisedGrid
            raise kind(
                f"the graph fixes {axis} of {node.name} to {size}",
                "export it with a dynamic axis there (dynamic_shapes of torch.onnx.export)",
            )


def _unreadable(path: Path, message: str) -> ForeignOperator | UnreadableProgram:
    line = message.strip().partition("\n")[0]
    if "is not a registered function/op" in message or "custom" in message.lower():
        return ForeignOperator(
            f"{path.name}: {line}", "use operators of the standard ONNX domains only"
        )
    if "external data" in message.lower() or "data_location" in message:
        return UnreadableProgram(
            f"{path.name}: weights lie in another file", "save with external_data=False"
        )
    return UnreadableProgram(f"{path.name}: onnxruntime: {line}", "check it with onnx.checker")

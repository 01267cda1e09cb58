"""What a server makes of a program: its arguments, and whole answers to requests."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from certisolve.manifest import Manifest, TensorSpec
from certisolve.wire import DTYPES

from .draft import passed_parameters, states
from .layout import GOLDEN_FRAMES
from .sizes import BATCH

#: What a program returns for a batch of its arguments: outputs, then states.
Program = Callable[[Sequence[Tensor]], Sequence[Tensor]]


def program_axes(manifest: Manifest) -> list[tuple[str, ...]]:
    """Axes of the program's arguments: inputs, states, parameters; `batch` first."""
    inputs = [manifest.frame_axes(spec) for spec in manifest.inputs]
    remembered = [spec.axes for spec in states(manifest)]
    scalars: list[tuple[str, ...]] = [() for _ in passed_parameters(manifest)]
    return [(BATCH, *axes) for axes in (*inputs, *remembered, *scalars)]


def program_arguments(manifest: Manifest, inputs: Sequence[Tensor]) -> list[Tensor]:
    """The program's arguments in its first step, from inputs and parameters of requests."""
    fields, scalars = inputs[: len(manifest.inputs)], inputs[len(manifest.inputs) :]
    frames = [
        _frame(manifest, spec, tensor, 0)
        for spec, tensor in zip(manifest.inputs, fields, strict=True)
    ]
    return [*frames, *_first_states(manifest, frames), *scalars]


def answer(program: Program, manifest: Manifest, inputs: Sequence[Tensor]) -> list[Tensor]:
    """The outputs of the manifest, those of models that advance in time at the manifest's times.

    Args:
        program: one pass.
        manifest: says how often it is run, and on what.
        inputs: and parameters, of a batch of requests.
    """
    if manifest.stepping is None:
        return list(program(inputs))
    wanted = [round(time / manifest.stepping.dt) for time in manifest.t]
    return _rolled_out(program, manifest, inputs, wanted)


def golden_answer(program: Program, manifest: Manifest, inputs: Sequence[Tensor]) -> list[Tensor]:
    """The same, of models that advance in time after the first steps: chaos amplifies roundings."""
    if manifest.stepping is None:
        return list(program(inputs))
    last = min(GOLDEN_FRAMES, manifest.stepping.max_steps)
    return _rolled_out(program, manifest, inputs, range(1, last + 1))


def _rolled_out(
    program: Program, manifest: Manifest, inputs: Sequence[Tensor], wanted: Sequence[int]
) -> list[Tensor]:
    num_inputs, num_outputs = len(manifest.inputs), len(manifest.outputs)
    fields, scalars = inputs[:num_inputs], inputs[num_inputs:]
    memory = program_arguments(manifest, inputs)[num_inputs : -len(scalars) or None]
    history = max(map(_num_frames, [manifest] * num_inputs, manifest.inputs, fields))
    latest: dict[str, Tensor] = {}
    produced: list[list[Tensor]] = []
    for step in range(history - 1 + max(wanted)):
        frames = [
            latest[spec.name]
            if spec.name in latest and step >= _num_frames(manifest, spec, field)
            else _frame(manifest, spec, field, step)
            for spec, field in zip(manifest.inputs, fields, strict=True)
        ]
        returned = list(program([*frames, *memory, *scalars]))
        outputs, memory = returned[:num_outputs], returned[num_outputs:]
        latest = {spec.name: out for spec, out in zip(manifest.outputs, outputs, strict=True)}
        produced.append(outputs)
    chosen = [produced[history - 2 + number] for number in wanted]
    return [torch.stack(frames, dim=1) for frames in zip(*chosen, strict=True)]


def _num_frames(manifest: Manifest, spec: TensorSpec, field: Tensor) -> int:
    """Frames that a request holds of an input: one, or a history."""
    return 1 if manifest.frame_axes(spec) == spec.axes else field.shape[1]


def _frame(manifest: Manifest, spec: TensorSpec, field: Tensor, step: int) -> Tensor:
    is_history = manifest.frame_axes(spec) != spec.axes
    return field[:, min(step, field.shape[1] - 1)].contiguous() if is_history else field


def _first_states(manifest: Manifest, frames: Sequence[Tensor]) -> list[Tensor]:
    sizes = {name: axis.size for name, axis in manifest.axes.items() if axis.size}
    for spec, frame in zip(manifest.inputs, frames, strict=True):
        sizes |= dict(zip(manifest.frame_axes(spec), frame.shape[1:], strict=True))
    return [
        torch.from_numpy(
            np.zeros((len(frames[0]), *(sizes[axis] for axis in spec.axes)), DTYPES[spec.dtype])
        )
        for spec in states(manifest)
    ]

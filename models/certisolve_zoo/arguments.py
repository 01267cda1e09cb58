"""What the programs of an artifact take: tensors for tracing, and the names of their axes.

A request holds inputs; a program that advances in time takes a frame and states, a vector field a
state and its observer or the time, a network of directions a residual.
"""

import torch
from torch import Tensor

from .spec import ModelSpec

Arguments = tuple[Tensor, ...]
Axes = tuple[tuple[str, ...], ...]


def program_arguments(spec: ModelSpec, inputs: Arguments) -> Arguments:
    """Arguments of the network's program, from the inputs of requests."""
    if spec.family == "feedback-ode":
        x = inputs[0][:, -1].contiguous()
        return x, x.clone(), x.new_ones(len(x))
    if spec.family == "ode":
        y, *parameters = inputs
        return (y, y.new_zeros(len(y)), *parameters)
    if spec.family == "iterative-solver":
        return tuple(tensor.float() for tensor in _right_hand_side_first(spec, inputs))
    frames = [
        tensor[:, -1].contiguous() if _is_history(spec, index) else tensor
        for index, tensor in enumerate(inputs)
    ]
    return (*frames, *_states(spec, inputs))


def program_axes(spec: ModelSpec) -> Axes:
    """Axes of these arguments, without that of the batch."""
    if spec.family == "feedback-ode":
        state = spec.inputs[0].axes[1:]
        return state, state, ()
    if spec.family == "ode":
        num_parameters = len(spec.input_names) - 1
        return (spec.inputs[0].axes, (), *[()] * num_parameters)
    if spec.family == "iterative-solver":
        return system_axes(spec)
    frames = [
        tensor.axes[1:] if _is_history(spec, index) else tensor.axes
        for index, tensor in enumerate(spec.inputs)
    ]
    states = spec.stepping.states if spec.stepping else ()
    return (*frames, *(state.axes for state in states))


def system_arguments(spec: ModelSpec, inputs: Arguments) -> Arguments:
    """Arguments of the linear system's operator: an unknown, then the inputs but b."""
    return tuple(tensor.double() for tensor in _right_hand_side_first(spec, inputs))


def system_axes(spec: ModelSpec) -> Axes:
    """Axes of these arguments."""
    names = [tensor.name for tensor in spec.inputs]
    assert spec.system is not None
    first = names.index(spec.system.right_hand_side)
    others = [tensor.axes for index, tensor in enumerate(spec.inputs) if index != first]
    return (spec.inputs[first].axes, *others)


def checks_axes(spec: ModelSpec) -> Axes:
    """Axes of what a graph of checks takes: inputs, then outputs."""
    inputs = [tensor.axes for tensor in spec.inputs]
    times = ("t",) if spec.advances else ()
    return (*inputs, *((*times, *tensor.axes) for tensor in spec.outputs))


def _right_hand_side_first(spec: ModelSpec, inputs: Arguments) -> Arguments:
    assert spec.system is not None
    first = [tensor.name for tensor in spec.inputs].index(spec.system.right_hand_side)
    return (inputs[first], *(tensor for index, tensor in enumerate(inputs) if index != first))


def _is_history(spec: ModelSpec, index: int) -> bool:
    axes = spec.inputs[index].axes
    return spec.stepping is not None and bool(axes) and spec.axes[axes[0]].kind == "points"


def _states(spec: ModelSpec, inputs: Arguments) -> list[Tensor]:
    if spec.stepping is None:
        return []
    sizes = {name: axis.size for name, axis in spec.axes.items() if axis.size is not None}
    for tensor_spec, tensor in zip(spec.inputs, inputs, strict=True):
        sizes |= dict(zip(tensor_spec.axes, tensor.shape[1:], strict=True))
    batch = len(inputs[0])
    return [
        torch.zeros(batch, *(sizes[axis] for axis in state.axes)) for state in spec.stepping.states
    ]

"""Along what derivatives are asked for; pure."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from certisolve import wire
from certisolve.manifest import Manifest, TensorSpec

from . import grids
from .errors import (
    InvalidOption,
    MissingInput,
    NotDifferentiable,
    NotFinite,
    OutOfRange,
    UnknownInput,
    UnknownParameter,
    WrongDtype,
    WrongShape,
)
from .jobs import Array, DerivativeRequest, SolveJob

#: Directions of one request, and the most steps that are gone along all of them together.
MAX_DIRECTIONS = 1024
MAX_STEPS = 16_384

_NUMBERS = "biuf"


class _Slot(NamedTuple):
    """Where a direction goes.

    Attributes:
        name: of the tensor.
        path: of the field, for whoever sent it.
        shape: of one direction, as it is sent.
        dtype: of its elements.
    """

    name: str
    path: str
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]


def added(
    job: SolveJob, request: DerivativeRequest, manifest: Manifest, *, max_bytes: int
) -> SolveJob:
    """A job for a solution, as one for its derivatives.

    Args:
        job: that of `request.at`.
        request: what is asked.
        manifest: of the model.
        max_bytes: of the answer.

    Raises:
        NotDifferentiable: the program has no derivatives.
        InvalidRequest: a subclass that names the field at fault.
    """
    if not manifest.differentiable:
        raise NotDifferentiable(f"{manifest.name} is an ONNX graph, which has no derivatives")
    tensors, parameters = _slots(job, request, manifest)
    arrays = [_checked(request.directions, slot) for slot in tensors]
    arrays += [_checked(request.parameter_directions, slot) for slot in parameters]
    _check_names(request, tensors, parameters, manifest)
    count = _agreed(arrays, [*tensors, *parameters], _role(request))
    _check_work(count, job, _role(request))
    num_bytes = _answer_bytes(count, job, request, manifest)
    if num_bytes > max_bytes:
        raise InvalidOption(
            f"the answer would have {num_bytes} bytes; at most {max_bytes}: ask for fewer "
            "directions",
            field=_role(request),
        )
    return replace(
        job,
        work=replace(job.work, kind=request.kind),
        directions=tuple(_on_program_grid(arrays, job, request, manifest)),
        num_answer_bytes=num_bytes,
    )


def _role(request: DerivativeRequest) -> str:
    return "tangents" if request.kind == "jvp" else "cotangents"


def _slots(
    job: SolveJob, request: DerivativeRequest, manifest: Manifest
) -> tuple[list[_Slot], list[_Slot]]:
    """Of tensors, and of parameters."""
    role, sizes = _role(request), _sizes(job, manifest)
    specs: Sequence[TensorSpec] = manifest.inputs
    frames: tuple[int, ...] = ()
    if request.kind == "vjp":
        specs = manifest.outputs
        frames = (len(job.context.t),) if manifest.advances else ()
    tensors = [
        _Slot(
            spec.name,
            f"{role}.{spec.name}",
            (*frames, *(sizes[axis] for axis in spec.axes)),
            wire.DTYPES[spec.dtype],
        )
        for spec in specs
    ]
    if request.kind == "vjp":
        return tensors, []
    passed = (spec.name for spec in manifest.parameters if spec.program_input)
    number = np.dtype(np.float32)
    return tensors, [_Slot(name, f"parameter_tangents.{name}", (), number) for name in passed]


def _sizes(job: SolveJob, manifest: Manifest) -> dict[str, int]:
    """Of every axis, as the caller sent it."""
    channels = {name: axis.size for name, axis in manifest.axes.items() if axis.size is not None}
    return {**channels, **job.context.sizes}


def _check_names(
    request: DerivativeRequest,
    tensors: Sequence[_Slot],
    parameters: Sequence[_Slot],
    manifest: Manifest,
) -> None:
    role, known = _role(request), [slot.name for slot in tensors]
    unknown = sorted(request.directions.keys() - set(known))
    if unknown:
        raise UnknownInput(f"{manifest.name} has {', '.join(known)}", field=f"{role}.{unknown[0]}")
    known = [slot.name for slot in parameters]
    unknown = sorted(request.parameter_directions.keys() - set(known))
    if unknown:
        taken = f"is differentiated by {', '.join(known)}" if known else "by none"
        raise UnknownParameter(f"{manifest.name} {taken}", field=f"parameter_tangents.{unknown[0]}")


def _checked(sent: Mapping[str, Array], slot: _Slot) -> Array:
    """Directions of shape (direction, ...); none, of shape (0, ...), for what was left out."""
    array = sent.get(slot.name)
    if array is None:
        return np.zeros((0, *slot.shape), slot.dtype)
    if array.shape == slot.shape:
        array = array[np.newaxis]
    if array.shape[1:] != slot.shape or array.ndim != 1 + len(slot.shape):
        raise WrongShape(
            f"expected directions of shape {list(slot.shape)}, one after the other along a first "
            f"axis, got shape {list(array.shape)}",
            field=slot.path,
        )
    if slot.dtype.kind != "f":
        raise WrongDtype("whole numbers have no derivatives; leave it out", field=slot.path)
    if array.dtype.kind not in _NUMBERS:
        raise WrongDtype(f"expected numbers, got {array.dtype}", field=slot.path)
    with np.errstate(over="ignore"):  # what overflows is infinite, and refused
        array = array.astype(slot.dtype, copy=False)
    if not np.isfinite(array).all():
        first = np.argwhere(~np.isfinite(array))[0].tolist()
        raise NotFinite(f"element {first} is {array[tuple(first)]}", field=slot.path)
    return array


def _agreed(arrays: Sequence[Array], slots: Sequence[_Slot], role: str) -> int:
    """How many directions there are."""
    counts = {slot.path: len(array) for slot, array in zip(slots, arrays, strict=True)}
    given = {path: count for path, count in counts.items() if count}
    if not given:
        raise MissingInput(f"name at least one of {', '.join(counts)}", field=role)
    agreed = next(iter(given.values()))
    for path, count in given.items():
        if count != agreed:
            raise WrongShape(f"{count} directions; another has {agreed}", field=path)
    return agreed


def _check_work(count: int, job: SolveJob, role: str) -> None:
    if count > MAX_DIRECTIONS:
        raise OutOfRange(f"{count} directions; at most {MAX_DIRECTIONS}", field=role)
    steps = job.work.steps[-1] if job.work.steps else 1
    if count * steps > MAX_STEPS:
        raise OutOfRange(
            f"{count} directions over {steps} steps; at most {MAX_STEPS} steps in all, "
            f"that is {MAX_STEPS // steps} directions",
            field=role,
        )


def _answer_bytes(count: int, job: SolveJob, request: DerivativeRequest, manifest: Manifest) -> int:
    """Of the solution and its derivatives."""
    solution = max(job.num_answer_bytes, _solution_bytes(job, manifest))
    if request.kind == "jvp":
        return (1 + count) * solution
    return solution + count * sum(array.nbytes for array in job.inputs)


def _solution_bytes(job: SolveJob, manifest: Manifest) -> int:
    sizes = _sizes(job, manifest)
    frames = len(job.context.t) if manifest.advances else 1
    return frames * sum(
        wire.DTYPES[spec.dtype].itemsize * math.prod(sizes[axis] for axis in spec.axes)
        for spec in manifest.outputs
    )


def _on_program_grid(
    arrays: Sequence[Array], job: SolveJob, request: DerivativeRequest, manifest: Manifest
) -> list[Array]:
    """Directions of what the program takes or returns, where that is not on the caller's grid."""
    if job.context.resampled_from is None:
        return list(arrays)
    sizes = {
        axis: size
        for spec, array in zip(manifest.inputs, job.inputs, strict=True)
        for axis, size in zip(spec.axes, array.shape, strict=True)
        if axis in manifest.grid_axes
    }
    if request.kind == "jvp":
        specs, moved = manifest.inputs, grids.resample
        lead: tuple[str, ...] = ("",)
    else:
        specs, moved = manifest.outputs, grids.resample_transposed
        lead = ("", "") if manifest.advances else ("",)
    tensors = [
        moved(array, (*lead, *spec.axes), sizes) for spec, array in zip(specs, arrays, strict=False)
    ]
    return tensors + list(arrays[len(tensors) :])

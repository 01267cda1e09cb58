"""What a request must be before it may wait for a device; pure."""

import hashlib
import json
import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from certisolve import wire
from certisolve.manifest import Axis, Manifest, ParameterSpec, TensorSpec, ValidatedResolution

from . import grids, horizon, tolerances
from .errors import (
    InvalidOption,
    MissingInput,
    NotFinite,
    OutOfRange,
    UnknownInput,
    UnknownParameter,
    UnvalidatedResolution,
    WrongDtype,
    WrongShape,
)
from .jobs import Array, SolveContext, SolveRequest, Work

#: Fewest values along an axis from which a field is resampled; fewer hold no field.
_MIN_RESAMPLED = 8
#: Of a request; the digest of one that leaves them out is that of release 0.3.
_ASKED_SINCE_0_4 = ("rtol", "atol", "steps", "save_every", "resume_from")


class Admitted(NamedTuple):
    """A request that matches its manifest.

    Attributes:
        inputs: in the manifest's order, of its element types.
        parameters: of the program, in the manifest's order.
        t: times asked for.
        sizes: of every axis, as sent.
        resolution: on which the program is to run.
        resampled: whether `resolution` differs from `sizes`.
        steps: after which frames are wanted; empty for models that take none.
        tolerance: of an iterative solver.
        rtol: relative tolerance of an integration.
        atol: absolute tolerance of an integration.
    """

    inputs: tuple[Array, ...]
    parameters: tuple[float, ...]
    t: tuple[float, ...]
    sizes: Mapping[str, int]
    resolution: ValidatedResolution
    resampled: bool
    steps: tuple[int, ...] = ()
    tolerance: float | None = None
    rtol: float | None = None
    atol: float | None = None


def check(request: SolveRequest, manifest: Manifest) -> Admitted:
    """The request in the manifest's terms.

    Raises:
        InvalidRequest: a subclass that names the field at fault and what would be right.
    """
    _check_names(request.inputs, manifest)
    sizes: dict[str, int] = {}
    inputs = tuple(_check_input(request, spec, manifest, sizes) for spec in manifest.inputs)
    parameters = check_parameters(request.parameters, manifest)
    t, steps = _check_times(request, manifest)
    asked = tolerances.check(request, manifest)
    resolution, resampled = _choose_resolution(sizes, manifest)
    return Admitted(inputs, parameters, t, sizes, resolution, resampled, steps, *asked)


def on_program_grid(admitted: Admitted, manifest: Manifest) -> tuple[Array, ...]:
    """The inputs at the resolution on which the program is to run."""
    if not admitted.resampled:
        return admitted.inputs
    return tuple(
        grids.resample(array, spec.axes, admitted.resolution.sizes)
        for array, spec in zip(admitted.inputs, manifest.inputs, strict=True)
    )


def work(admitted: Admitted, manifest: Manifest, *, diagnostics: bool) -> Work:
    """What the model is asked beside the inputs."""
    return Work(
        steps=admitted.steps,
        t=admitted.t if manifest.integration else (),
        rtol=admitted.rtol,
        atol=admitted.atol,
        tolerance=admitted.tolerance,
        checks=diagnostics,
    )


def context(admitted: Admitted, manifest: Manifest, *, diagnostics: bool) -> SolveContext:
    """What turns the program's outputs back into the caller's solution."""
    sent = {name: admitted.sizes[name] for name in manifest.grid_axes}
    beyond = horizon.exceeded(horizon.Wanted(admitted.t, admitted.steps), manifest)
    asked = tolerances.Tolerances(admitted.tolerance, admitted.rtol, admitted.atol)
    loose = tolerances.are_loose(asked, manifest)
    elsewhere = admitted.resampled or admitted.resolution.error is None
    unmeasured = elsewhere or beyond or loose
    reasons = {"resolution": elsewhere, "horizon": beyond}
    return SolveContext(
        t=admitted.t,
        sizes=admitted.sizes,
        resampled_from=sent if admitted.resampled else None,
        expected_error=None if unmeasured else _error(admitted, manifest),
        diagnostics=diagnostics,
        out_of_range=tuple(reason for reason, holds in reasons.items() if holds),
    )


def answer_bytes(admitted: Admitted, manifest: Manifest) -> int:
    """Size of the fields that a request asks for, on its grid or the program's: the larger one."""
    channels = {name: axis.size for name, axis in manifest.axes.items() if axis.size is not None}
    num_frames = len(admitted.t) if manifest.advances else 1
    return num_frames * max(
        sum(
            wire.DTYPES[spec.dtype].itemsize * math.prod(sizes.get(axis, 1) for axis in spec.axes)
            for spec in manifest.outputs
        )
        for sizes in (
            {**channels, **admitted.sizes},
            {**channels, **admitted.sizes, **admitted.resolution.sizes},
        )
    )


def digest(request: SolveRequest) -> str:
    """SHA-256 in hex of what a request asks for, the same over every protocol.

    It covers model, version asked for, inputs, parameters, times and options, not the terms. Plain
    JSON numbers count as float64, however they were written.
    """
    inputs = {name: _canonical(request, name) for name in sorted(request.inputs)}
    question = {
        "model": request.model,
        "version": request.version,
        "inputs": [[name, wire.dtype_name(a), a.shape] for name, a in inputs.items()],
        "parameters": dict(request.parameters),
        "t": request.t,
        "tolerance": request.tolerance,
        "diagnostics": request.diagnostics,
    }
    # Nothing is said of them where they were left out, as in the days before them.
    asked = {name: getattr(request, name) for name in _ASKED_SINCE_0_4}
    question |= {name: value for name, value in asked.items() if value is not None}
    # The sizes stand before the bytes, so that no two requests run together to the same text.
    sha = hashlib.sha256(json.dumps(question, sort_keys=True).encode())
    for array in inputs.values():
        sha.update(wire.to_bytes(array))
    return sha.hexdigest()


def _canonical(request: SolveRequest, name: str) -> Array:
    array = request.inputs[name]
    return array.astype(np.float64) if name in request.untyped else array


def _check_names(inputs: Mapping[str, Array], manifest: Manifest) -> None:
    names = [spec.name for spec in manifest.inputs]
    unknown = sorted(inputs.keys() - set(names))
    if unknown:
        raise UnknownInput(
            f"{manifest.name} takes {', '.join(names)}", field=f"inputs.{unknown[0]}"
        )
    for spec in manifest.inputs:
        if spec.name not in inputs:
            raise MissingInput(
                f"{manifest.name} needs {spec.name}: {spec.description}",
                field=f"inputs.{spec.name}",
            )


def _check_input(
    request: SolveRequest, spec: TensorSpec, manifest: Manifest, sizes: dict[str, int]
) -> Array:
    array, field = request.inputs[spec.name], f"inputs.{spec.name}"
    dtype = wire.DTYPES[spec.dtype]
    check_shape(array, spec, manifest, sizes, field)
    if spec.name in request.untyped:
        array = cast(array, spec, field)
    if dtype == np.float64 and array.dtype == np.float32:
        # Every number of float32 is one of float64; the SDK sends no others.
        array = array.astype(dtype)
    if array.dtype != dtype:
        raise WrongDtype(f"expected {spec.dtype}, got {wire.dtype_name(array)}", field=field)
    check_values(array, spec, field)
    return array


def cast(array: Array, spec: TensorSpec, field: str) -> Array:
    """The array in the element type of the manifest; whole numbers exactly.

    Raises:
        WrongDtype: an element is no whole number, or too large.
    """
    # What overflows a float becomes infinite and is refused later; an integer would wrap around.
    with np.errstate(over="ignore", invalid="ignore"):
        cast = array.astype(wire.DTYPES[spec.dtype])
    if cast.dtype.kind != "f" and not np.array_equal(cast, array):
        raise WrongDtype(f"an element is not a value of {spec.dtype}", field=field)
    return cast


def check_shape(
    array: Array, spec: TensorSpec, manifest: Manifest, sizes: dict[str, int], field: str
) -> None:
    """Refuse a tensor that has not the axes of its input.

    Args:
        array: without a batch dimension.
        spec: of the input.
        manifest: that names it.
        sizes: of the axes as they are known; those of this tensor are added.
        field: path of the tensor.

    Raises:
        WrongShape: of another number of axes, or of other sizes.
    """
    if array.ndim != len(spec.axes):
        raise WrongShape(
            f"expected axes ({', '.join(spec.axes)}), got shape {list(array.shape)}; "
            "send one sample, without a batch dimension",
            field=field,
        )
    for name, size in zip(spec.axes, array.shape, strict=True):
        fault = _size_fault(manifest.axes[name], size, sizes.setdefault(name, size))
        if fault:
            raise WrongShape(f"axis {name} has {size} values; {fault}", field=field)


def _size_fault(axis: Axis, size: int, agreed: int) -> str:
    if size != agreed:
        return f"another input has {agreed}"
    if axis.kind == "channel" and size != axis.size:
        return f"expected {axis.size}"
    if size < axis.minimum or (axis.maximum is not None and size > axis.maximum):
        return f"expected {axis.minimum} to {axis.maximum or 'any number'}"
    return ""


def check_values(array: Array, spec: TensorSpec, field: str) -> None:
    """Refuse values that the model was not validated on.

    Raises:
        InvalidRequest: `NotFinite` or `OutOfRange`.
    """
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        first = np.argwhere(~np.isfinite(array))[0].tolist()
        raise NotFinite(f"element {first} is {array[tuple(first)]}", field=field)
    if spec.minimum is not None and (low := array.min()) < spec.minimum:
        raise OutOfRange(f"smallest element {low:g} is below {spec.minimum:g}", field=field)
    if spec.maximum is not None and (high := array.max()) > spec.maximum:
        raise OutOfRange(f"largest element {high:g} is above {spec.maximum:g}", field=field)
    if spec.values:
        _check_allowed(array, spec, field)
    if spec.max_abs_mean is not None:
        _check_mean(array, spec.max_abs_mean, field)


def _check_allowed(array: Array, spec: TensorSpec, field: str) -> None:
    strange = ~np.isin(array, np.asarray(spec.values, array.dtype))
    if strange.any():
        first = np.argwhere(strange)[0].tolist()
        allowed = ", ".join(f"{value:g}" for value in spec.values)
        raise OutOfRange(f"element {first} is {array[tuple(first)]:g}; use {allowed}", field=field)


def _check_mean(array: Array, limit: float, field: str) -> None:
    mean = float(array.mean(dtype=np.float64))
    if abs(mean) > limit:
        raise OutOfRange(
            f"the mean is {mean:.3g}; this model was validated on means within {limit:g} of zero",
            field=field,
        )


def check_parameters(values: Mapping[str, float], manifest: Manifest) -> tuple[float, ...]:
    """Those of the program, in the manifest's order.

    Raises:
        InvalidRequest: `UnknownParameter` or `OutOfRange`.
    """
    specs = {spec.name: spec for spec in manifest.parameters}
    unknown = sorted(values.keys() - specs.keys())
    if unknown:
        known = ", ".join(specs) or "no parameters"
        raise UnknownParameter(f"{manifest.name} takes {known}", field=f"parameters.{unknown[0]}")
    for name, value in values.items():
        _check_parameter(specs[name], value)
    passed = (spec for spec in manifest.parameters if spec.program_input)
    return tuple(values.get(spec.name, spec.default) for spec in passed)


def _check_parameter(spec: ParameterSpec, value: float) -> None:
    if not spec.minimum <= value <= spec.maximum:
        fixed = spec.minimum == spec.maximum
        allowed = f"{spec.minimum:g}" if fixed else f"{spec.minimum:g} to {spec.maximum:g}"
        raise OutOfRange(
            f"{value:g} was not validated; use {allowed}", field=f"parameters.{spec.name}"
        )


def _check_times(request: SolveRequest, manifest: Manifest) -> horizon.Wanted:
    t = request.t
    counted = {name: getattr(request, name) for name in ("steps", "save_every", "resume_from")}
    if manifest.advances:
        return horizon.wanted(t, manifest, **counted)
    horizon.check_steps(manifest, **counted)
    if t is None:
        return horizon.Wanted(manifest.t)
    for index, time in enumerate(t):
        if time not in manifest.t:
            known = ", ".join(f"{value:g}" for value in manifest.t)
            raise OutOfRange(
                f"{manifest.name} answers at t = {known}" if known else "the problem is stationary",
                field=f"t.{index}",
            )
    if t != manifest.t:
        raise InvalidOption(f"ask for t = {list(manifest.t)}, in this order", field="t")
    return horizon.Wanted(t)


def _error(admitted: Admitted, manifest: Manifest) -> float | None:
    if not manifest.advances:
        return admitted.resolution.error
    return horizon.error(admitted.resolution, admitted.t, manifest)


def _choose_resolution(
    sizes: Mapping[str, int], manifest: Manifest
) -> tuple[ValidatedResolution, bool]:
    wanted = {name: sizes[name] for name in manifest.grid_axes}
    for resolution in manifest.resolutions:
        if resolution.sizes == wanted:
            return resolution, False
    field = f"inputs.{manifest.inputs[0].name}"
    known = resolutions_text(manifest)
    if manifest.unvalidated_resolution == "refuse":
        raise UnvalidatedResolution(f"{sizes_text(wanted)} is not one of: {known}", field=field)
    if min(wanted.values()) < _MIN_RESAMPLED:
        raise UnvalidatedResolution(
            f"{sizes_text(wanted)} is too coarse to resample to one of: {known}", field=field
        )
    return min(manifest.resolutions, key=lambda r: _distance(wanted, r.sizes)), True


def _distance(wanted: Mapping[str, int], sizes: Mapping[str, int]) -> float:
    return sum(abs(math.log(wanted[name] / sizes[name])) for name in wanted)


def resolutions_text(manifest: Manifest) -> str:
    """Those that the model was validated on, for people."""
    return "; ".join(sizes_text(each.sizes) for each in manifest.resolutions)


def sizes_text(sizes: Mapping[str, int]) -> str:
    """Sizes of a grid, for people."""
    return " x ".join(f"{name}={size}" for name, size in sizes.items())

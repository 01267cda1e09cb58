"""What a caller measured, checked against the manifest; pure.

What a mask leaves out may be anything, NaN too: it is not looked at.
"""

import hashlib
import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from certisolve import wire
from certisolve.manifest import Manifest, TensorSpec
from certisolve_server.errors import (
    InvalidOption,
    MissingInput,
    NotFinite,
    OutOfRange,
    UnknownInput,
    WrongDtype,
    WrongShape,
)
from certisolve_server.jobs import Array

#: Each is a job of its own, one after the other, and all count or none.
MAX_MEASUREMENTS = 1024


@dataclass(frozen=True, slots=True)
class Observation:
    """Measurements as they were sent.

    Attributes:
        t: when each was taken.
        values: by input name, with an axis of measurements in front.
        masks: what was measured, of the shape of the values; those left out were measured whole.
        untyped: names of the values that came as plain JSON numbers, without an element type.
    """

    t: tuple[float, ...]
    values: Mapping[str, Array]
    masks: Mapping[str, Array] = field(default_factory=dict)
    untyped: frozenset[str] = frozenset()

    @property
    def num_bytes(self) -> int:
        """Size of what was sent."""
        arrays = (*self.values.values(), *self.masks.values())
        return sum(array.nbytes for array in arrays)


class Measured(NamedTuple):
    """What was measured of one input at one time.

    Attributes:
        values: of the shape of a frame.
        mask: where they hold; None for everywhere.
    """

    values: Array
    mask: Array | None

    def over(self, forecast: Array) -> Array:
        """The forecast, with what was measured in its place."""
        return self.values if self.mask is None else np.where(self.mask, self.values, forecast)


class Measurement(NamedTuple):
    """All that was measured at one time.

    Attributes:
        inputs: by name of the input.
        field: what names its time in the call.
    """

    t: float
    inputs: Mapping[str, Measured]
    field: str


def read(
    observation: Observation,
    manifest: Manifest,
    frames: Mapping[str, Array],
    after: float,
) -> list[Measurement]:
    """The measurements, one by one.

    Args:
        observation: from the caller.
        manifest: names, element types and ranges.
        frames: the present frame of every input that can be measured.
        after: time of the session, which measurements must come after.

    Raises:
        InvalidRequest: a subclass that names the field at fault.
    """
    _check_times(observation.t, after)
    unknown = sorted(observation.values.keys() - frames.keys())
    if unknown:
        raise UnknownInput(f"measure {', '.join(frames)}", field=f"values.{unknown[0]}")
    if not observation.values:
        raise MissingInput(f"measure at least one of {', '.join(frames)}", field="values")
    stray = sorted(observation.masks.keys() - observation.values.keys())
    if stray:
        raise UnknownInput("there is no such value", field=f"masks.{stray[0]}")
    columns = {
        spec.name: _column(observation, spec, frames[spec.name].shape)
        for spec in manifest.inputs
        if spec.name in observation.values
    }
    return [
        Measurement(t, {name: column[index] for name, column in columns.items()}, f"t.{index}")
        for index, t in enumerate(observation.t)
    ]


def digest(observation: Observation) -> str:
    """SHA-256 in hex of what was observed, the same over every protocol."""
    arrays = [
        (f"{role}.{name}", array)
        for role, named in (("values", observation.values), ("masks", observation.masks))
        for name, array in sorted(named.items())
    ]
    question = [observation.t, [[name, wire.dtype_name(a), a.shape] for name, a in arrays]]
    sha = hashlib.sha256(json.dumps(question).encode())
    for _, array in arrays:
        sha.update(wire.to_bytes(array))
    return sha.hexdigest()


def _check_times(t: Sequence[float], after: float) -> None:
    if not t:
        raise InvalidOption("say when it was measured", field="t")
    if len(t) > MAX_MEASUREMENTS:
        raise InvalidOption(f"send at most {MAX_MEASUREMENTS} measurements at once", field="t")
    for index, (before, time) in enumerate(itertools.pairwise((after, *t))):
        if not math.isfinite(time):
            raise NotFinite(f"{time} is no time", field=f"t.{index}")
        if time <= before:
            raise OutOfRange(
                f"{time:g} does not come after {before:g}, where the session stands then",
                field=f"t.{index}",
            )


def _column(observation: Observation, spec: TensorSpec, frame: tuple[int, ...]) -> list[Measured]:
    """One input at every time."""
    name, shape = spec.name, (len(observation.t), *frame)
    values = observation.values[name]
    _check_shape(values, shape, f"values.{name}")
    mask = observation.masks.get(name)
    if mask is not None:
        _check_shape(mask, shape, f"masks.{name}")
        if mask.dtype != np.bool_:
            raise WrongDtype("a mask is BOOL: true where measured", field=f"masks.{name}")
        if mask.all():
            mask = None
    values = _cast(values, spec, mask, untyped=name in observation.untyped)
    _check_values(values if mask is None else values[mask], spec)
    return [
        Measured(values[index], None if mask is None or mask[index].all() else mask[index])
        for index in range(len(values))
    ]


def _check_shape(array: Array, shape: tuple[int, ...], field: str) -> None:
    if array.shape != shape:
        raise WrongShape(
            f"expected shape {list(shape)}, the times first; got {list(array.shape)}", field=field
        )


def _cast(values: Array, spec: TensorSpec, mask: Array | None, *, untyped: bool) -> Array:
    dtype, field = wire.DTYPES[spec.dtype], f"values.{spec.name}"
    widened = dtype == np.float64 and values.dtype == np.float32
    if values.dtype == dtype:
        return values
    if not untyped and not widened:
        raise WrongDtype(f"expected {spec.dtype}, got {wire.dtype_name(values)}", field=field)
    with np.errstate(over="ignore", invalid="ignore"):
        cast = values.astype(dtype)
    measured = np.ones(values.shape, bool) if mask is None else mask
    if dtype.kind != "f" and not np.array_equal(cast[measured], values[measured]):
        raise WrongDtype(f"an element is not a value of {spec.dtype}", field=field)
    return cast


def _check_values(measured: Array, spec: TensorSpec) -> None:
    field = f"values.{spec.name}"
    if not measured.size:
        return
    if measured.dtype.kind == "f" and not np.isfinite(measured).all():
        raise NotFinite("a measured element is not finite; mask what is missing", field=field)
    if spec.minimum is not None and (low := measured.min()) < spec.minimum:
        raise OutOfRange(f"smallest element {low:g} is below {spec.minimum:g}", field=field)
    if spec.maximum is not None and (high := measured.max()) > spec.maximum:
        raise OutOfRange(f"largest element {high:g} is above {spec.maximum:g}", field=field)

"""Sessions as bytes: safetensors, the arrays by role, the rest as JSON under the key `certisolve`.

    inputs.<name>   the present frame, or the last measurement
    states.<name>   the memory; of the family `feedback-ode` `layers` and `observers`

Stores keep sessions in this form, and callers take it away as a snapshot, to restore it on this or
another server of the same model.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from certisolve import wire
from certisolve.manifest import Manifest, TensorSpec
from certisolve_server.errors import InvalidOption, MalformedBody, NotFinite, WrongDtype, WrongShape
from certisolve_server.jobs import Array, ModelKey

from .layout import state_specs
from .state import SessionOptions, SessionState

#: What the metadata of a snapshot calls itself.
KIND = "session"
_FORMAT = 1


def encode(state: SessionState, manifest: Manifest) -> bytes:
    """The snapshot of a session of a model."""
    names = [f"inputs.{spec.name}" for spec in manifest.inputs]
    names += [f"states.{spec.name}" for spec in state_specs(manifest)]
    arrays = state.inputs + state.states
    metadata = {
        "kind": KIND,
        "format": _FORMAT,
        "model": state.model._asdict(),
        "t": state.t,
        "origin": state.origin,
        "steps": state.steps,
        "known_at": state.known_at,
        "blended": state.blended,
        "parameters": state.parameters,
        "options": asdict(state.options),
        "last_call": state.last_call,
    }
    # A memory that has seen nothing yet has no arrays.
    return wire.encode_safetensors(dict(zip(names, arrays, strict=False)), metadata)


def model_of(data: bytes) -> ModelKey:
    """Which program a snapshot belongs to.

    Raises:
        MalformedBody: not a snapshot.
    """
    _, metadata = _read(data)
    return _model(metadata)


def decode(data: bytes, manifest: Manifest) -> SessionState:
    """The session in a snapshot; its arrays are views of it.

    Args:
        data: from anybody.
        manifest: of the program that it belongs to.

    Raises:
        InvalidRequest: a subclass that says what is wrong with it.
    """
    tensors, metadata = _read(data)
    try:
        state = _state(metadata)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise MalformedBody(f"the snapshot lacks or misspells something: {error!r}") from error
    _check_numbers(state)
    sizes: dict[str, int] = {}
    inputs = _take(tensors, "inputs", manifest.inputs, manifest, sizes)
    # Of the layers, which are no axis of the manifest.
    specs = state_specs(manifest)
    began = any(name.startswith("states.") for name in tensors)
    states = _take(tensors, "states", specs, manifest, sizes) if began else ()
    if tensors:
        raise MalformedBody(f"the snapshot holds {', '.join(sorted(tensors))} beside its state")
    _check_layers(states, manifest, state.options.horizon_steps)
    return replace(state, inputs=inputs, states=states)


def _read(data: bytes) -> tuple[dict[str, Array], dict[str, Any]]:
    try:
        tensors, metadata = wire.decode_safetensors(data)
    except wire.WireError as error:
        raise MalformedBody(f"not a snapshot: {error}") from error
    if metadata.get("kind") != KIND or metadata.get("format") != _FORMAT:
        raise MalformedBody("not a snapshot of a session that this release can read")
    return tensors, metadata


def _model(metadata: Mapping[str, Any]) -> ModelKey:
    match metadata.get("model"):
        case {"name": str(name), "version": str(version), "digest": str(digest)}:
            return ModelKey(name, version, digest)
    raise MalformedBody("the snapshot does not say of which model it is")


def _state(metadata: Mapping[str, Any]) -> SessionState:
    options = metadata["options"]
    return SessionState(
        model=_model(metadata),
        t=float(metadata["t"]),
        origin=float(metadata["origin"]),
        steps=int(metadata["steps"]),
        known_at=float(metadata["known_at"]),
        blended=bool(metadata["blended"]),
        inputs=(),
        states=(),
        parameters=tuple(float(value) for value in metadata["parameters"]),
        options=SessionOptions(
            horizon_steps=int(options["horizon_steps"]),
            gain=float(options["gain"]),
            max_noise_gain=float(options["max_noise_gain"]),
            ttl_s=float(options["ttl_s"]),
        ),
        last_call=str(metadata["last_call"]),
    )


def _check_numbers(state: SessionState) -> None:
    numbers = (state.t, state.origin, state.known_at, *state.parameters)
    if not all(map(math.isfinite, numbers)):
        raise NotFinite("a time or parameter of the snapshot is not finite")
    if state.steps < 0:
        raise InvalidOption("the steps of a snapshot count from 0", field="steps")


def _take(
    tensors: dict[str, Array],
    role: str,
    specs: tuple[TensorSpec, ...],
    manifest: Manifest,
    sizes: dict[str, int],
) -> tuple[Array, ...]:
    """The arrays of a role, removed from `tensors`."""
    return tuple(
        _check_array(tensors.pop(f"{role}.{spec.name}", None), role, spec, manifest, sizes)
        for spec in specs
    )


def _check_array(
    array: Array | None, role: str, spec: TensorSpec, manifest: Manifest, sizes: dict[str, int]
) -> Array:
    field = f"{role}.{spec.name}"
    if array is None:
        raise MalformedBody("missing in the snapshot", field=field)
    if array.dtype != wire.DTYPES[spec.dtype]:
        raise WrongDtype(f"expected {spec.dtype}, got {wire.dtype_name(array)}", field=field)
    pairs = list(zip(spec.axes, array.shape, strict=False))
    if array.ndim != len(spec.axes) or not all(_fits(*pair, manifest, sizes) for pair in pairs):
        raise WrongShape(
            f"expected axes ({', '.join(spec.axes)}), got shape {list(array.shape)}", field=field
        )
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise NotFinite("an element is not finite", field=field)
    return array


def _fits(name: str, size: int, manifest: Manifest, sizes: dict[str, int]) -> bool:
    axis = manifest.axes.get(name)  # layers are no axis of a manifest
    if axis is not None and axis.size is not None:
        return size == axis.size
    if axis is not None and not axis.minimum <= size <= (axis.maximum or size):
        return False
    return size == sizes.setdefault(name, size)


def _check_layers(states: tuple[Array, ...], manifest: Manifest, horizon_steps: int) -> None:
    if manifest.family != "feedback-ode":
        return
    if not states or (len(states[0]), len(states[1])) != (horizon_steps + 1, horizon_steps):
        raise WrongShape(
            f"a horizon of {horizon_steps} steps has {horizon_steps + 1} layers and "
            f"{horizon_steps} observers",
            field="states.layers",
        )

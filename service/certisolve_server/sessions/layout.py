"""Names, axes and sizes of what a session of a model holds."""

import math
from collections.abc import Mapping, Sequence

from certisolve import wire
from certisolve.manifest import Manifest, TensorSpec
from certisolve_server.jobs import Array


def state_specs(manifest: Manifest) -> tuple[TensorSpec, ...]:
    """What a session remembers beside its inputs, in the order of `Outcome.states`."""
    if manifest.family == "feedback-ode":
        [spec] = manifest.outputs
        return (
            _cascade_spec("layers", "layer", spec, "states 0 to N steps after the measurement"),
            _cascade_spec("observers", "observer", spec, "of the first N of them"),
        )
    return manifest.stepping.states if manifest.stepping is not None else ()


def is_history(manifest: Manifest, spec: TensorSpec) -> bool:
    """Whether an input is a list of frames, the present one last."""
    return manifest.frame_axes(spec) != spec.axes


def sizes_of(manifest: Manifest, inputs: Sequence[Array]) -> dict[str, int]:
    """The size of every axis of a session's inputs."""
    sizes = {name: axis.size for name, axis in manifest.axes.items() if axis.size is not None}
    for spec, array in zip(manifest.inputs, inputs, strict=True):
        sizes |= dict(zip(spec.axes, array.shape, strict=True))
    return sizes


def frame_bytes(manifest: Manifest, sizes: Mapping[str, int]) -> int:
    """Size of the outputs at one time."""
    return _bytes_of(manifest.outputs, sizes)


def memory_bytes(manifest: Manifest, sizes: Mapping[str, int], horizon_steps: int) -> int:
    """Size of the states once there are some."""
    if manifest.family == "feedback-ode":
        return (2 * horizon_steps + 1) * frame_bytes(manifest, sizes)
    return _bytes_of(state_specs(manifest), sizes)


def _bytes_of(specs: Sequence[TensorSpec], sizes: Mapping[str, int]) -> int:
    return sum(
        wire.DTYPES[spec.dtype].itemsize * math.prod(sizes[axis] for axis in spec.axes)
        for spec in specs
    )


def _cascade_spec(name: str, axis: str, spec: TensorSpec, description: str) -> TensorSpec:
    return TensorSpec(name=name, dtype=spec.dtype, axes=(axis, *spec.axes), description=description)

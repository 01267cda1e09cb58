"""Whether a manifest contradicts itself."""

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from . import wire
from ._manifest_parts import Axis, ParameterSpec, Postprocess, TensorSpec

if TYPE_CHECKING:
    from .manifest import Manifest

FORMAT_VERSION = 1
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_STEPPING = ("rollout", "memory-rollout", "feedback-ode", "ode")
# Of a step: times that differ by less are the same.
_SAME_TIME = 1e-6


class ManifestError(ValueError):
    """A manifest is malformed or contradicts itself; the message names the key."""


def check(manifest: "Manifest") -> None:
    """Refuse a manifest that contradicts itself.

    Raises:
        ManifestError: with the key at fault.
    """
    if manifest.format_version != FORMAT_VERSION:
        raise ManifestError(f"format_version: this release reads {FORMAT_VERSION}")
    for key, name in (("name", manifest.name), ("version", manifest.version)):
        if not _NAME.fullmatch(name):
            raise ManifestError(f"{key}: {name!r} must match {_NAME.pattern}")
    for name, axis in manifest.axes.items():
        _check_axis(name, axis, resampled=manifest.unvalidated_resolution == "resample")
    _check_tensors(manifest)
    _check_parameters(manifest)
    _check_resolutions(manifest)
    _check_family(manifest)
    _check_times(manifest)
    for postprocess in manifest.postprocess:
        _check_postprocess(postprocess, manifest)
    _check_files(manifest)


def _check_axis(name: str, axis: Axis, *, resampled: bool) -> None:
    key = f"axes.{name}"
    if not name.isidentifier():
        raise ManifestError(f"{key}: must be an identifier")
    if axis.kind == "channel" and (axis.size is None or axis.size < 1):
        raise ManifestError(f"{key}.size: a channel axis needs one, at least 1")
    if axis.minimum < 1:
        raise ManifestError(f"{key}.minimum: must be at least 1")
    _check_order(key, axis.minimum, axis.maximum)
    if axis.kind == "grid":
        _check_grid_axis(key, axis, resampled=resampled)


def _check_grid_axis(key: str, axis: Axis, *, resampled: bool) -> None:
    if axis.lower is None or axis.upper is None or axis.convention is None:
        raise ManifestError(f"{key}: a grid axis needs lower, upper, convention")
    if not axis.lower < axis.upper:
        raise ManifestError(f"{key}: lower must be below upper")
    if resampled and axis.convention != "periodic":
        raise ManifestError(f"unvalidated_resolution: {key} is not periodic")


def _check_tensors(manifest: "Manifest") -> None:
    states = manifest.stepping.states if manifest.stepping else ()
    for spec in (*manifest.inputs, *manifest.outputs, *states):
        _check_tensor(spec, manifest)
    for spec in states:
        if any(manifest.axes[axis].kind == "points" for axis in spec.axes):
            raise ManifestError(f"stepping.states.{spec.name}: takes grid and channel axes only")
    taken: tuple[TensorSpec | ParameterSpec, ...] = (
        *manifest.inputs,
        *states,
        *manifest.parameters,
    )
    names = [spec.name for spec in taken]
    if manifest.stepping is None:
        names += [spec.name for spec in manifest.outputs]
    _check_unique("inputs, outputs, parameters", names)
    _check_unique("outputs", [spec.name for spec in manifest.outputs])
    for name in names:
        if not name.isidentifier():
            raise ManifestError(f"inputs, outputs, parameters: {name!r} must be an identifier")


def _check_tensor(spec: TensorSpec, manifest: "Manifest") -> None:
    unknown = [axis for axis in spec.axes if axis not in manifest.axes]
    if unknown:
        raise ManifestError(f"{spec.name}.axes: {unknown[0]!r} is not in axes")
    if spec.dtype not in wire.DTYPES:
        raise ManifestError(f"{spec.name}.dtype: {spec.dtype!r} is none of {[*wire.DTYPES]}")
    _check_order(spec.name, spec.minimum, spec.maximum)


def _check_parameters(manifest: "Manifest") -> None:
    for spec in manifest.parameters:
        if not spec.minimum <= spec.default <= spec.maximum:
            raise ManifestError(f"parameters: {spec.name}.default is outside its range")


def _check_resolutions(manifest: "Manifest") -> None:
    if not (manifest.inputs and manifest.outputs and manifest.resolutions):
        raise ManifestError("inputs, outputs, resolutions: each needs at least one entry")
    for resolution in manifest.resolutions:
        if set(resolution.sizes) != set(manifest.grid_axes):
            raise ManifestError(f"resolutions: sizes must name exactly {manifest.grid_axes}")
        if min(resolution.sizes.values(), default=1) < 1:
            raise ManifestError("resolutions: sizes must be at least 1")
        if (resolution.error is None) != (resolution.worst_error is None):
            raise ManifestError("resolutions: error and worst_error are both known or both null")
        if len(resolution.t) != len(resolution.error_at_t):
            raise ManifestError("resolutions: needs as many error_at_t as t")
    if manifest.max_batch_size < 1:
        raise ManifestError("max_batch_size: must be at least 1")
    for key in ("batch_tolerance", "golden_tolerance"):
        if getattr(manifest, key) < 0:
            raise ManifestError(f"{key}: must not be negative")


def _check_family(manifest: "Manifest") -> None:
    family = manifest.family
    for key, families in (
        ("stepping", _STEPPING),
        ("feedback", ("feedback-ode",)),
        ("iteration", ("iterative-solver",)),
    ):
        if (getattr(manifest, key) is not None) != (family in families):
            verb = "needs" if family in families else "takes no"
            raise ManifestError(f"{key}: the family {family} {verb} it")
    if family in ("rollout", "memory-rollout"):
        _check_rollout(manifest)
    if family == "feedback-ode":
        _check_feedback(manifest)
    if family == "iterative-solver":
        _check_iteration(manifest)


def _check_rollout(manifest: "Manifest") -> None:
    assert manifest.stepping is not None
    inputs = {spec.name: spec for spec in manifest.inputs}
    carried = [spec for spec in manifest.outputs if spec.name in inputs]
    if not carried:
        raise ManifestError("outputs: one must have the name of an input, whose next value it is")
    for spec in carried:
        if manifest.frame_axes(inputs[spec.name]) != spec.axes:
            raise ManifestError(f"outputs: {spec.name} has other axes than the input")
    if bool(manifest.stepping.states) != (manifest.family == "memory-rollout"):
        raise ManifestError(f"stepping.states: not those of the family {manifest.family}")


def _check_feedback(manifest: "Manifest") -> None:
    if len(manifest.inputs) != 1 or len(manifest.outputs) != 1:
        raise ManifestError("inputs, outputs: the family feedback-ode has one of each")
    [taken], [returned] = manifest.inputs, manifest.outputs
    kinds = [manifest.axes[axis].kind for axis in taken.axes]
    if kinds != ["points", "channel"] or taken.axes[1:] != returned.axes:
        raise ManifestError("inputs: need the axes (measurement, state), outputs (state)")


def _check_iteration(manifest: "Manifest") -> None:
    iteration = manifest.iteration
    assert iteration is not None
    inputs = {spec.name: spec for spec in manifest.inputs}
    if iteration.right_hand_side not in inputs:
        raise ManifestError("iteration.right_hand_side: must be an input")
    if len(manifest.outputs) != 1:
        raise ManifestError("outputs: the family iterative-solver has one")
    if inputs[iteration.right_hand_side].axes != manifest.outputs[0].axes:
        raise ManifestError("outputs: needs the axes of the right-hand side")
    if not 0 < iteration.smallest_tolerance <= iteration.tolerance < 1:
        raise ManifestError("iteration: needs 0 < smallest_tolerance <= tolerance < 1")
    if iteration.max_iterations < 1:
        raise ManifestError("iteration.max_iterations: must be at least 1")


def _check_times(manifest: "Manifest") -> None:
    stepping = manifest.stepping
    if stepping is None:
        return
    if not stepping.dt > 0 or stepping.max_steps < 1:
        raise ManifestError("stepping: needs dt > 0 and max_steps >= 1")
    if not manifest.t:
        raise ManifestError("t: needs the times that are answered when the caller names none")
    for time in manifest.t:
        steps = time / stepping.dt
        off_grid = abs(steps - round(steps)) > _SAME_TIME
        if off_grid or not 1 <= round(steps) <= stepping.max_steps:
            raise ManifestError(f"t: {time:g} is not a step, 1 to {stepping.max_steps}")


def _check_postprocess(postprocess: Postprocess, manifest: "Manifest") -> None:
    key = f"postprocess.{postprocess.kind}"
    outputs = {spec.name: spec for spec in manifest.outputs}
    if postprocess.output not in outputs:
        raise ManifestError(f"{key}.output: {postprocess.output!r} is not an output")
    if postprocess.deviation is not None and postprocess.deviation not in outputs:
        raise ManifestError(f"{key}.deviation: {postprocess.deviation!r} is not an output")
    if postprocess.kind == "ensemble" and not postprocess.deviation:
        raise ManifestError(f"{key}.deviation: name the output that gets it")
    grid = [axis for axis in outputs[postprocess.output].axes if axis in manifest.grid_axes]
    if postprocess.kind != "ensemble" and not grid:
        raise ManifestError(f"{key}.output: {postprocess.output!r} has no grid axis")
    if postprocess.kind == "conserve" and len(grid) < len(outputs[postprocess.output].axes):
        raise ManifestError(f"{key}.output: {postprocess.output!r} must have grid axes alone")
    _check_nodes(postprocess, grid, manifest)
    if postprocess.integral_of is not None:
        _check_integral(postprocess, grid, manifest)


def _check_nodes(postprocess: Postprocess, grid: list[str], manifest: "Manifest") -> None:
    if postprocess.kind not in ("dirichlet", "periodic"):
        return
    for name in grid:
        if manifest.axes[name].convention != "nodes":
            raise ManifestError(
                f"postprocess.{postprocess.kind}: the ends of axis {name} are no grid values"
            )


def _check_integral(postprocess: Postprocess, grid: list[str], manifest: "Manifest") -> None:
    inputs = {spec.name: manifest.frame_axes(spec) for spec in manifest.inputs}
    axes = inputs.get(postprocess.integral_of or "")
    if axes is None or [axis for axis in axes if axis in manifest.grid_axes] != grid:
        raise ManifestError(
            f"postprocess.conserve.integral_of: {postprocess.integral_of!r} is not an input on the "
            f"grid of {postprocess.output}"
        )


def _check_files(manifest: "Manifest") -> None:
    for program in manifest.programs:
        if program.file not in manifest.files:
            raise ManifestError(f"files: lacks the program {program.file!r}")
    for name in manifest.files:
        if not _FILE.fullmatch(name):
            raise ManifestError(f"files: {name!r} must be a plain name beside the manifest")


def _check_unique(keys: str, names: Iterable[str]) -> None:
    names = list(names)
    if len(set(names)) < len(names):
        raise ManifestError(f"{keys}: a name occurs twice")


def _check_order(key: str, minimum: float | None, maximum: float | None) -> None:
    if minimum is not None and maximum is not None and minimum > maximum:
        raise ManifestError(f"{key}: minimum {minimum:g} is above maximum {maximum:g}")

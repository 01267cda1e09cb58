"""Whether a manifest contradicts itself."""

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from . import wire
from ._manifest_error import ManifestError
from ._manifest_families import check_family
from ._manifest_parts import Axis, ParameterSpec, TensorSpec, ValidatedResolution
from ._manifest_postprocess import check_postprocess

if TYPE_CHECKING:
    from .manifest import Manifest

FORMAT_VERSION = 1
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")


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
    check_family(manifest)
    for postprocess in manifest.postprocess:
        check_postprocess(postprocess, manifest)
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
    names, returned = ([spec.name for spec in specs] for specs in (taken, manifest.outputs))
    # What has the name of an input is its next value.
    _check_unique(
        "inputs, outputs, parameters", names if manifest.advances else [*names, *returned]
    )
    _check_unique("outputs", returned)
    for name in (*names, *returned):
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
        _check_errors(resolution)
    if manifest.max_batch_size < 1:
        raise ManifestError("max_batch_size: must be at least 1")
    for key in ("batch_tolerance", "golden_tolerance"):
        if getattr(manifest, key) < 0:
            raise ManifestError(f"{key}: must not be negative")


def _check_errors(resolution: ValidatedResolution) -> None:
    if (resolution.error is None) != (resolution.worst_error is None):
        raise ManifestError("resolutions: error and worst_error are both known or both null")
    if len(resolution.t) != len(resolution.error_at_t):
        raise ManifestError("resolutions: needs as many error_at_t as t")
    if list(resolution.t) != sorted(set(resolution.t)):
        raise ManifestError("resolutions: t must ascend")


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

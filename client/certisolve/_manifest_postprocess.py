"""Whether what is done to outputs fits them."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ._manifest_error import ManifestError
from ._manifest_parts import Postprocess, TensorSpec

if TYPE_CHECKING:
    from .manifest import Manifest

# The answers of the others are not a program's outputs.
_FAMILIES = ("map", "rollout", "memory-rollout")


def check_postprocess(postprocess: Postprocess, manifest: "Manifest") -> None:
    """Refuse a post-processor that does not fit the outputs.

    Raises:
        ManifestError: with the key at fault.
    """
    key = f"postprocess.{postprocess.kind}"
    outputs = {spec.name: spec for spec in manifest.outputs}
    if postprocess.output not in outputs:
        raise ManifestError(f"{key}.output: {postprocess.output!r} is not an output")
    if manifest.family not in _FAMILIES:
        raise ManifestError(f"postprocess: the family {manifest.family} takes none")
    if postprocess.deviation is not None:
        _check_deviation(postprocess, outputs)
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


def _check_deviation(postprocess: Postprocess, outputs: Mapping[str, TensorSpec]) -> None:
    key, name = f"postprocess.{postprocess.kind}.deviation", postprocess.deviation
    if name is None or name not in outputs or name == postprocess.output:
        raise ManifestError(f"{key}: {name!r} is not another output")
    if outputs[name].axes != outputs[postprocess.output].axes:
        raise ManifestError(f"{key}: {name!r} has other axes than {postprocess.output}")


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
    if axes is None or list(axes) != grid:
        raise ManifestError(
            f"postprocess.conserve.integral_of: {postprocess.integral_of!r} is not an input on the "
            f"grid of {postprocess.output}"
        )

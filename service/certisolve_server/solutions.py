"""From a worker's arrays to the caller's solution; pure."""

from collections.abc import Mapping

from certisolve.manifest import Manifest

from . import grids
from .jobs import Array, Artifact, Outcome, Solution


def solution_of(outcome: Outcome, artifact: Artifact) -> Solution:
    """The answer in the words of the manifest, on the grid that was asked for.

    Args:
        outcome: what the worker answered.
        artifact: the very one that it ran.
    """
    manifest, context = artifact.manifest, outcome.context
    fields = dict(zip((spec.name for spec in manifest.outputs), outcome.outputs, strict=True))
    if context.resampled_from is not None:
        for spec in manifest.outputs:
            fields[spec.name] = grids.resample(fields[spec.name], spec, context.resampled_from)
    return Solution(
        fields=fields,
        axes={spec.name: spec.axes for spec in manifest.outputs},
        coords=_coords(manifest, context.sizes),
        status="ok" if outcome.finite else "not_finite",
        context=context,
        timings=outcome.timings,
        batch_size=outcome.batch_size,
        artifact=artifact,
    )


def _coords(manifest: Manifest, sizes: Mapping[str, int]) -> dict[str, Array]:
    return {
        name: grids.coordinates(manifest.axes[name], sizes[name]) for name in manifest.grid_axes
    }

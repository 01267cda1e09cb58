"""From a worker's arrays to the caller's derivatives; pure."""

from dataclasses import replace

from certisolve.manifest import Manifest

from . import grids
from .answers import Derivative
from .jobs import Array, Artifact, Kind, Outcome
from .solutions import solution_of


def derivative_of(outcome: Outcome, artifact: Artifact, kind: Kind) -> Derivative:
    """Solution and derivatives in the words of the manifest, on the grid that was asked for.

    Args:
        outcome: what the worker answered to a job of this kind.
        artifact: the very one that it ran.
        kind: `jvp` or `vjp`.
    """
    manifest, count = artifact.manifest, len(artifact.manifest.outputs)
    solution = solution_of(replace(outcome, outputs=outcome.outputs[:count]), artifact)
    found, sent = outcome.outputs[count:], outcome.context.resampled_from
    if kind == "jvp":
        lead = ("", "") if manifest.advances else ("",)
        return Derivative(
            solution,
            {
                spec.name: array
                if sent is None
                else grids.resample(array, (*lead, *spec.axes), sent)
                for spec, array in zip(manifest.outputs, found, strict=True)
            },
        )
    fields = {
        spec.name: array
        if sent is None
        else grids.resample_transposed(array, ("", *spec.axes), sent)
        for spec, array in zip(manifest.inputs, found, strict=False)
        # Whole numbers have none.
        if array.dtype.kind == "f"
    }
    return Derivative(solution, fields, _of_parameters(found[len(manifest.inputs) :], manifest))


def _of_parameters(arrays: tuple[Array, ...], manifest: Manifest) -> dict[str, Array]:
    names = (spec.name for spec in manifest.parameters if spec.program_input)
    return dict(zip(names, arrays, strict=True))

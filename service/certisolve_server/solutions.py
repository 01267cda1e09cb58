"""From a worker's arrays to the caller's solution; pure."""

import math
from collections.abc import Mapping

from certisolve.manifest import Manifest, TensorSpec

from . import grids
from .answers import Diagnostics, Solution
from .jobs import Array, Artifact, Outcome


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
            fields[spec.name] = grids.resample(
                fields[spec.name], _axes(manifest, spec), context.resampled_from
            )
    return _solution(outcome, artifact, fields)


def summary_of(outcome: Outcome, artifact: Artifact) -> Solution:
    """The answer without its fields, for whoever has them already.

    Args:
        outcome: what the worker answered.
        artifact: the very one that it ran.
    """
    return _solution(outcome, artifact, {})


def coords_of(manifest: Manifest, sizes: Mapping[str, int]) -> dict[str, Array]:
    """Coordinates of the grid axes, float64, by axis name.

    Args:
        manifest: that describes the axes.
        sizes: of every axis, as the caller sent it.
    """
    return {
        name: grids.coordinates(manifest.axes[name], sizes[name]) for name in manifest.grid_axes
    }


def _solution(outcome: Outcome, artifact: Artifact, fields: Mapping[str, Array]) -> Solution:
    manifest, context = artifact.manifest, outcome.context
    return Solution(
        fields=fields,
        axes={spec.name: _axes(manifest, spec) for spec in manifest.outputs},
        coords=coords_of(manifest, context.sizes),
        status=_status(outcome),
        t=context.t if outcome.t is None else outcome.t,
        context=context,
        timings=outcome.timings,
        batch_size=outcome.batch_size,
        artifact=artifact,
        diagnostics=_diagnostics(outcome) if context.diagnostics else None,
    )


def _axes(manifest: Manifest, spec: TensorSpec) -> tuple[str, ...]:
    return ("t", *spec.axes) if manifest.advances else spec.axes


def _status(outcome: Outcome) -> str:
    if outcome.ending is not None:
        return outcome.ending
    if not outcome.finite:
        return "not_finite"
    return "ok" if outcome.findings.get("converged", 1.0) else "not_converged"


def _diagnostics(outcome: Outcome) -> Diagnostics:
    context, findings = outcome.context, outcome.findings
    # Of NaN nobody knows that it is inside.
    outside = not findings.get("knot_excess", 0.0) <= 0
    return Diagnostics(
        out_of_range=(*context.out_of_range, *(("knots",) if outside else ())),
        resampled_from=context.resampled_from,
        expected_error=None if outside or _status(outcome) != "ok" else context.expected_error,
        residual=_known(findings, "residual"),
        conservation_defect=_known(findings, "conservation_defect"),
        knot_excess=_known(findings, "knot_excess"),
        noise_gain=_known(findings, "noise_gain"),
        nfe=_counted(findings, "nfe"),
        rejected_steps=_counted(findings, "rejected_steps"),
    )


def _counted(findings: Mapping[str, float], name: str) -> int | None:
    value = _known(findings, name)
    return None if value is None else round(value)


def _known(findings: Mapping[str, float], name: str) -> float | None:
    """A finding; None where it is no number, which JSON could not carry either."""
    value = findings.get(name, math.nan)
    return value if math.isfinite(value) else None

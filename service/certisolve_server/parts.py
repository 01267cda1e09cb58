"""A solution in parts, as it is told while it is computed; pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from certisolve.manifest import Manifest

from . import grids, solutions
from .answers import Solution
from .jobs import Array, Artifact, Frame, SolveContext


@dataclass(frozen=True, slots=True)
class Start:
    """What is known before anything is computed.

    Attributes:
        artifact: that answers.
        num_frames: that were asked for; fewer come where the way in time ends early.
        t: their times; empty for a stationary problem.
        axes: axis names of every field of a frame.
        coords: coordinates of the grid axes, float64, by axis name.
    """

    artifact: Artifact
    num_frames: int
    t: tuple[float, ...]
    axes: Mapping[str, tuple[str, ...]]
    coords: Mapping[str, Array]


@dataclass(frozen=True, slots=True)
class SolvedFrame:
    """A frame in the words of the manifest, on the grid that was asked for.

    Attributes:
        index: among the frames asked for, from 0.
        step: that it follows; None where there are no steps of one size.
        t: its time; 0 for a stationary problem.
        fields: by output name, without the axis `t`.
    """

    index: int
    step: int | None
    t: float
    fields: Mapping[str, Array]


#: Of a stream: first a start, then frames, last a summary, which is a solution without fields.
Part = Start | SolvedFrame | Solution


def start_of(context: SolveContext, artifact: Artifact) -> Start:
    """The start of a stream.

    Args:
        context: of its job.
        artifact: that it was admitted for.
    """
    manifest = artifact.manifest
    return Start(
        artifact=artifact,
        num_frames=len(context.t) if manifest.advances else 1,
        t=context.t,
        axes={spec.name: spec.axes for spec in manifest.outputs},
        coords=solutions.coords_of(manifest, context.sizes),
    )


def frame_of(frame: Frame, context: SolveContext, manifest: Manifest) -> SolvedFrame:
    """A worker's frame in the words of the manifest.

    Args:
        frame: as the worker told it.
        context: of its job.
        manifest: of the model that computes it.
    """
    fields = dict(zip((spec.name for spec in manifest.outputs), frame.outputs, strict=True))
    if context.resampled_from is not None:
        fields = {
            spec.name: grids.resample(fields[spec.name], spec.axes, context.resampled_from)
            for spec in manifest.outputs
        }
    step = _step(frame.t, manifest)
    return SolvedFrame(frame.index, step, _told_time(frame, step, context, manifest), fields)


def _step(t: float, manifest: Manifest) -> int | None:
    return None if manifest.stepping is None else round(t / manifest.stepping.dt)


def _told_time(frame: Frame, step: int | None, context: SolveContext, manifest: Manifest) -> float:
    # A time that was asked for is told as it was asked for; the last good frame of one that
    # diverged may lie between.
    asked = context.t[frame.index] if frame.index < len(context.t) else None
    return asked if asked is not None and _step(asked, manifest) == step is not None else frame.t

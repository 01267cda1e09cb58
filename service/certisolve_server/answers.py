"""Answers in the words of a manifest, as every protocol tells them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .jobs import Array, Artifact, SolveContext, Timings


@dataclass(frozen=True, slots=True)
class Diagnostics:
    """How far an answer can be trusted.

    Attributes:
        out_of_range: in what it exceeds what was validated: `resolution`, `horizon`, `knots`.
        resampled_from: sizes of the grid axes as sent, if the program ran on others.
        expected_error: on unseen data at this resolution and horizon; None where none was measured.
        residual: of the equation, relative.
        conservation_defect: of what the equation conserves, relative.
        knot_excess: how far activations left the grids of splines, relative; > 0 is outside.
        noise_gain: by which the forecast amplifies noise of the measurements.
        nfe: evaluations of the network for this answer.
        rejected_steps: of an integration, tried and not taken.
    """

    out_of_range: tuple[str, ...]
    resampled_from: Mapping[str, int] | None
    expected_error: float | None
    residual: float | None = None
    conservation_defect: float | None = None
    knot_excess: float | None = None
    noise_gain: float | None = None
    nfe: int | None = None
    rejected_steps: int | None = None

    @property
    def in_validated_range(self) -> bool:
        """Whether the measured errors hold for this answer."""
        return not self.out_of_range

    def told(self) -> dict[str, Any]:
        """All of it by name, as every protocol tells it."""
        # Not dataclasses.asdict, which copies deeply: every reply passes here.
        return {
            "in_validated_range": self.in_validated_range,
            "out_of_range": self.out_of_range,
            "resampled_from": self.resampled_from,
            "expected_error": self.expected_error,
            "residual": self.residual,
            "conservation_defect": self.conservation_defect,
            "knot_excess": self.knot_excess,
            "noise_gain": self.noise_gain,
            "nfe": self.nfe,
            "rejected_steps": self.rejected_steps,
        }


@dataclass(frozen=True, slots=True)
class Solution:
    """A solve's answer in the words of the manifest.

    Attributes:
        fields: by output name.
        axes: axis names of every field.
        coords: coordinates of the grid axes, float64, by axis name.
        status: `ok`; `not_finite` when a field holds NaN or infinity; `not_converged` when an
            iterative solver gave up before its tolerance; `diverged`, `max_steps` or
            `dt_underflow` when a way in time ended at the last of `t`, see `Ending`.
        t: times of the fields: those of the context, unless the way ended early.
        context: what was asked for.
        diagnostics: how far the answer can be trusted; None when the caller wants none.
    """

    fields: Mapping[str, Array]
    axes: Mapping[str, tuple[str, ...]]
    coords: Mapping[str, Array]
    status: str
    t: tuple[float, ...]
    context: SolveContext
    timings: Timings
    batch_size: int
    artifact: Artifact
    diagnostics: Diagnostics | None = None


@dataclass(frozen=True, slots=True)
class Certified:
    """A certificate, as it was written where it was proven.

    Attributes:
        document: JSON in UTF-8.
    """

    document: bytes

    def told(self) -> dict[str, Any]:
        """All of it by name."""
        said: dict[str, Any] = json.loads(self.document)
        return said


@dataclass(frozen=True, slots=True)
class Derivative:
    """A solution and its derivatives.

    Attributes:
        solution: where they were taken.
        derivatives: of outputs (`jvp`) or by inputs (`vjp`), by name, each of shape
            (direction, ...).
        parameter_derivatives: by parameters (`vjp`), by name, of shape (direction,).
    """

    solution: Solution
    derivatives: Mapping[str, Array]
    parameter_derivatives: Mapping[str, Array] = field(default_factory=dict)

"""How a session moves from call to call: what is asked of a worker, and what its answer means.

A course turns a state and a call into an `Ask`, which becomes a job like any other, and the job's
outcome into the next state. It is pure: any process with the state may do so.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from certisolve.manifest import Manifest, ValidatedResolution
from certisolve_server.errors import ForecastDiverged, UnvalidatedResolution
from certisolve_server.jobs import Array, ModelKey, Outcome, SolveContext, Timings, Work

from .layout import frame_bytes, memory_bytes, sizes_of
from .measurements import Measurement
from .state import SessionState


class Ask(NamedTuple):
    """What a job is made of.

    Attributes:
        inputs, states: as `SolveJob` has them.
        context: of the answer.
        num_answer_bytes: of the frames and states that it asks for.
    """

    inputs: tuple[Array, ...]
    states: tuple[Array, ...]
    work: Work
    context: SolveContext
    num_answer_bytes: int


class Reading(NamedTuple):
    """A forecast that stands in the state already.

    Attributes:
        outputs: one array per output of the manifest, with times along the first axis.
    """

    outputs: tuple[Array, ...]
    context: SolveContext
    findings: Mapping[str, float]

    def outcome(self, model: ModelKey) -> Outcome:
        """What a worker would have answered, had there been something to compute."""
        finite = all(bool(np.isfinite(output).all()) for output in self.outputs)
        return Outcome(
            model=model,
            outputs=self.outputs,
            finite=finite,
            timings=Timings(0.0, 0.0, 0.0),
            batch_size=0,
            context=self.context,
            findings=self.findings,
        )


class AbstractCourse(ABC):
    """The sessions of one model.

    Arguments:
        manifest: of the model.
    """

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest

    @abstractmethod
    def frames(self, state: SessionState) -> dict[str, Array]:
        """The present frame of every input that can be measured, by name."""

    @abstractmethod
    def opening(self, state: SessionState) -> Ask | None:
        """What is to be computed before a session stands; None for nothing."""

    @abstractmethod
    def opened(self, state: SessionState, outcome: Outcome) -> SessionState:
        """The session once that is computed.

        Raises:
            ForecastDiverged: it is not finite.
        """

    @abstractmethod
    def approach(self, state: SessionState, measurement: Measurement) -> Ask:
        """What is to be computed for a measurement.

        Raises:
            OutOfRange: its time cannot be reached.
        """

    @abstractmethod
    def observed(
        self, state: SessionState, measurement: Measurement, outcome: Outcome
    ) -> SessionState:
        """The session after a measurement.

        Raises:
            ForecastDiverged: it is not finite.
        """

    @abstractmethod
    def forecast(self, state: SessionState, t: Sequence[float]) -> Ask | Reading:
        """The way to a forecast at `t`, times of the session's clock.

        Raises:
            InvalidOption: no times, or not ascending.
            OutOfRange: one cannot be reached.
        """

    def resolution(self, inputs: Sequence[Array]) -> ValidatedResolution:
        """That of a session's arrays.

        Raises:
            UnvalidatedResolution: none was measured there. Sessions are not resampled: what they
                remember lies on the grid of the program.
        """
        sizes = sizes_of(self.manifest, inputs)
        wanted = {name: sizes[name] for name in self.manifest.grid_axes}
        for resolution in self.manifest.resolutions:
            if resolution.sizes == wanted:
                return resolution
        known = "; ".join(str(resolution.sizes) for resolution in self.manifest.resolutions)
        raise UnvalidatedResolution(
            f"a session has one of the resolutions {known}; got {wanted}",
            field=f"inputs.{self.manifest.inputs[0].name}",
        )

    def answer_bytes(self, state: SessionState, num_frames: int, *, with_states: bool) -> int:
        """Size of what a job gives back."""
        sizes = sizes_of(self.manifest, state.inputs)
        frames = num_frames * frame_bytes(self.manifest, sizes)
        if not with_states:
            return frames
        return frames + memory_bytes(self.manifest, sizes, state.options.horizon_steps)

    def context(
        self,
        state: SessionState,
        t: Sequence[float],
        *,
        expected_error: float | None = None,
        out_of_range: tuple[str, ...] = (),
    ) -> SolveContext:
        """What turns a worker's arrays into a forecast."""
        return SolveContext(
            t=tuple(t),
            sizes=sizes_of(self.manifest, state.inputs),
            resampled_from=None,
            expected_error=expected_error,
            diagnostics=True,
            out_of_range=out_of_range,
        )


def check_finite(arrays: Sequence[Array], outcome: Outcome, t: float, field: str = "t") -> None:
    """Refuse a state that no call could go on from.

    Raises:
        ForecastDiverged: with the time.
    """
    finite = all(np.isfinite(array).all() for array in arrays if array.dtype.kind == "f")
    if outcome.ending is not None or not finite:
        how = outcome.ending or "not finite"
        raise ForecastDiverged(
            f"the forecast to t = {t:g}, which the measurement would correct, ended early ({how}); "
            "the session stands where it stood: measure earlier, or open a new one",
            field=field,
        )

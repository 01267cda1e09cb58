"""Sessions of `feedback-ode`: a cascade of observers, corrected whenever something is measured.

The state is the forecast itself: layer i stands dt i after the last measurement, and a worker moves
layers and observers at each measurement (`Work.interval`). To predict is to read the layers.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

from certisolve_server.errors import InvalidOption, OutOfRange
from certisolve_server.jobs import Array, Outcome, Work

from .course import AbstractCourse, Ask, Reading, check_finite
from .gains import noise_gain
from .interpolation import between
from .measurements import Measurement
from .state import SessionState

#: Of a step: a time so little beyond the last layer is that of the last layer.
_SAME_TIME = 1e-3


class FeedbackCourse(AbstractCourse):
    """The last measurement is the input, layers and observers are the states."""

    def frames(self, state: SessionState) -> dict[str, Array]:
        return {self._name: state.inputs[0][-1]}

    def opening(self, state: SessionState) -> Ask:
        return self._ask(state, state.inputs[0], 0.0, state.t)

    def opened(self, state: SessionState, outcome: Outcome) -> SessionState:
        check_finite(outcome.states, outcome, state.t)
        return replace(state, states=outcome.states)

    def approach(self, state: SessionState, measurement: Measurement) -> Ask:
        measured = self._whole(state, measurement)
        return self._ask(state, measured, measurement.t - state.t, measurement.t)

    def observed(
        self, state: SessionState, measurement: Measurement, outcome: Outcome
    ) -> SessionState:
        check_finite(outcome.states, outcome, measurement.t, measurement.field)
        return replace(
            state,
            t=measurement.t,
            known_at=measurement.t,
            inputs=(self._whole(state, measurement),),
            states=outcome.states,
        )

    def forecast(self, state: SessionState, t: Sequence[float]) -> Reading:
        if not t:
            raise InvalidOption("name at least one time", field="t")
        before = state.t
        for index, time in enumerate(t):
            if not time > before:
                raise OutOfRange(
                    f"{time:g}: from here times must come after {before:g}", field=f"t.{index}"
                )
            self._check_reach(state, time, f"t.{index}")
            before = time
        reach = math.ceil((t[-1] - state.t) / self._dt - _SAME_TIME)
        assert self.manifest.stepping is not None
        beyond = reach > self.manifest.stepping.max_steps
        return Reading(
            (self._read(state, t),),
            # Errors were measured after many exact measurements, one in each step, at full gain.
            self.context(state, t, out_of_range=("horizon",) if beyond else ()),
            {"noise_gain": noise_gain(self.manifest, reach, state.options.gain), "nfe": 0.0},
        )

    def _whole(self, state: SessionState, measurement: Measurement) -> Array:
        """What was measured, and the forecast of what was not, of shape (1, state)."""
        measured = measurement.inputs[self._name]
        if measured.mask is None:
            return measured.values[None]
        self._check_reach(state, measurement.t, measurement.field)
        return measured.over(self._read(state, (measurement.t,))[0])[None]

    def _read(self, state: SessionState, t: Sequence[float]) -> Array:
        layers, last = state.states[0], state.options.horizon_steps * self._dt
        return between(layers, self._dt, [min(time - state.t, last) for time in t])

    def _check_reach(self, state: SessionState, time: float, field: str) -> None:
        num_steps = state.options.horizon_steps
        if not (time - state.t) / self._dt <= num_steps + _SAME_TIME:
            raise OutOfRange(
                f"{time:g}: the session forecasts {num_steps} steps of {self._dt:g}, up to "
                f"{state.t + num_steps * self._dt:g}; measure everything, or open it with more "
                "horizon_steps",
                field=field,
            )

    def _ask(self, state: SessionState, measured: Array, interval: float, t: float) -> Ask:
        options = state.options
        work = Work(
            steps=(options.horizon_steps,),
            checks=False,
            keeps_states=True,
            interval=interval,
            gain=options.gain,
        )
        return Ask(
            (measured,),
            state.states,
            work,
            self.context(state, (t,)),
            self.answer_bytes(state, 1, with_states=True),
        )

    @property
    def _name(self) -> str:
        return self.manifest.inputs[0].name

    @property
    def _dt(self) -> float:
        assert self.manifest.stepping is not None
        return self.manifest.stepping.dt

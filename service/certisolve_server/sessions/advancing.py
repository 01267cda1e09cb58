"""Sessions of `rollout`, `memory-rollout` and `ode`: a frame, a memory, and the time of both.

A measurement at a later time replaces the forecast of that time where something was measured. What
the model remembers, it remembers of what it saw: a memory goes on from the corrected frame.
"""

from collections.abc import Sequence
from dataclasses import replace

from certisolve_server import horizon
from certisolve_server.errors import InvalidOption, OutOfRange
from certisolve_server.horizon import Wanted
from certisolve_server.jobs import Array, Outcome, Work

from .course import AbstractCourse, Ask, check_finite
from .layout import is_history
from .measurements import Measurement
from .state import SessionState

#: Times may be off a step by this share of it: they are sums of decimal fractions.
_SAME_TIME = 1e-3


class AdvancingCourse(AbstractCourse):
    """The present frame is the input of the next job."""

    def frames(self, state: SessionState) -> dict[str, Array]:
        carried = {spec.name for spec in self.manifest.outputs}
        return {
            spec.name: array[-1] if is_history(self.manifest, spec) else array
            for spec, array in zip(self.manifest.inputs, state.inputs, strict=True)
            if spec.name in carried
        }

    def opening(self, state: SessionState) -> None:
        del state

    def opened(self, state: SessionState, outcome: Outcome) -> SessionState:
        raise AssertionError("there was nothing to compute")

    def approach(self, state: SessionState, measurement: Measurement) -> Ask:
        way = self._way(state, (measurement.t,), [measurement.field])
        return Ask(
            state.inputs,
            state.states,
            self._work(way, keeps_states=True),
            self.context(state, (measurement.t,)),
            self.answer_bytes(state, 1, with_states=True),
        )

    def observed(
        self, state: SessionState, measurement: Measurement, outcome: Outcome
    ) -> SessionState:
        way = self._way(state, (measurement.t,), [measurement.field])
        inputs = self._corrected(state, measurement, outcome)
        check_finite(inputs + outcome.states, outcome, measurement.t, measurement.field)
        measured = measurement.inputs
        whole = all(name in measured and measured[name].mask is None for name in self.frames(state))
        partly = any(each.mask is None or each.mask.any() for each in measured.values())
        return replace(
            state,
            t=measurement.t,
            steps=state.steps + (way.steps[-1] if way.steps else 0),
            known_at=measurement.t if whole else state.known_at,
            blended=not whole and (state.blended or partly),
            inputs=inputs,
            states=outcome.states,
        )

    def forecast(self, state: SessionState, t: Sequence[float]) -> Ask:
        if not t:
            raise InvalidOption("name at least one time", field="t")
        way = self._way(state, t, [f"t.{index}" for index in range(len(t))])
        since = self._since_known(state, way)
        beyond = horizon.exceeded(since, self.manifest)
        resolution = self.resolution(state.inputs)
        unmeasured = resolution.error is None
        told = not (beyond or state.blended or unmeasured)
        reasons = {"resolution": unmeasured, "horizon": beyond}
        return Ask(
            state.inputs,
            state.states,
            self._work(way, keeps_states=False),
            self.context(
                state,
                t,
                expected_error=horizon.error(resolution, since.t, self.manifest) if told else None,
                out_of_range=tuple(reason for reason, holds in reasons.items() if holds),
            ),
            self.answer_bytes(state, len(t), with_states=False),
        )

    def _corrected(
        self, state: SessionState, measurement: Measurement, outcome: Outcome
    ) -> tuple[Array, ...]:
        """The inputs of the next job."""
        names = [spec.name for spec in self.manifest.outputs]
        corrected = []
        for spec, array in zip(self.manifest.inputs, state.inputs, strict=True):
            frame = array[-1] if is_history(self.manifest, spec) else array
            if spec.name in names:
                frame = outcome.outputs[names.index(spec.name)][-1]
            if spec.name in measurement.inputs:
                frame = measurement.inputs[spec.name].over(frame)
            corrected.append(frame[None] if is_history(self.manifest, spec) else frame)
        return tuple(corrected)

    def _work(self, way: Wanted, *, keeps_states: bool) -> Work:
        t = () if way.steps else way.t
        return Work(steps=way.steps, t=t, checks=not keeps_states, keeps_states=keeps_states)

    def _way(self, state: SessionState, t: Sequence[float], fields: Sequence[str]) -> Wanted:
        """From the session's time to `t`, counted from 0; `fields` name the times in the call."""
        if self.manifest.stepping is not None:
            return self._steps(state, t, fields, self.manifest.stepping.dt)
        assert self.manifest.integration is not None
        if len(t) > horizon.MAX_TIMES:
            raise InvalidOption(f"ask for at most {horizon.MAX_TIMES} times", field="t")
        longest = horizon.MAX_HORIZONS * self.manifest.integration.horizon
        before = state.t
        for time, field in zip(t, fields, strict=True):
            _check_time(time, before, state.t + longest, field)
            before = time
        return Wanted(tuple(time - state.t for time in t))

    def _steps(
        self, state: SessionState, t: Sequence[float], fields: Sequence[str], dt: float
    ) -> Wanted:
        steps: list[int] = []
        before = state.t
        for time, field in zip(t, fields, strict=True):
            _check_time(time, before, state.t + (horizon.MAX_STEPS + 0.5) * dt, field)
            # From the time of opening, so that no error adds up from call to call.
            exact = (time - state.origin) / dt - state.steps
            if abs(exact - round(exact)) > _SAME_TIME or round(exact) <= (steps or [0])[-1]:
                raise OutOfRange(
                    f"{time:g} is between steps: they end at {state.t:g} + n times {dt:g}",
                    field=field,
                )
            steps.append(round(exact))
            before = time
        return Wanted(tuple(step * dt for step in steps), tuple(steps))

    def _since_known(self, state: SessionState, way: Wanted) -> Wanted:
        """The same way from the last time at which the state was given whole."""
        age = state.t - state.known_at
        stepping = self.manifest.stepping
        steps = 0 if stepping is None else round(age / stepping.dt)
        return Wanted(
            tuple(age + time for time in way.t), tuple(steps + step for step in way.steps)
        )


def _check_time(time: float, before: float, latest: float, field: str) -> None:
    if not before < time <= latest:
        raise OutOfRange(
            f"{time:g}: from here times must come after {before:g}, up to {latest:g}",
            field=field,
        )

"""Whatever is measured when, and wherever a session is taken: it is where a plain loop is."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from certisolve_server.jobs import SolveJob
from certisolve_server.sessions import course_of
from certisolve_server.sessions.course import Ask, Reading
from certisolve_server.sessions.interpolation import between
from certisolve_server.sessions.measurements import Observation, read
from certisolve_server.sessions.snapshot import decode, encode
from certisolve_server.sessions.state import SessionOptions, SessionState
from family_models import DT, SIZE
from session_worker import ARTIFACTS, answer, corrected, open_loop

RNG = np.random.default_rng(11)
FIELD, FORCING = RNG.uniform(0.1, 0.9, (2, SIZE)).astype(np.float32)
OPTIONS = SessionOptions(5, 0.5, 1000.0, 60.0)


class Session:
    """A course and its state, whose jobs are answered here and now.

    Arguments:
        model: its name.
        inputs: with which it begins, at t = 1.
        parameters: of the program.
    """

    def __init__(self, model, inputs, parameters=()):
        artifact = ARTIFACTS[model]
        self.manifest, self.course = artifact.manifest, course_of(artifact.manifest)
        self.state = SessionState(
            model=artifact.key,
            t=1.0,
            origin=1.0,
            steps=0,
            known_at=1.0,
            blended=False,
            inputs=inputs,
            states=(),
            parameters=parameters,
            options=OPTIONS,
        )
        opening = self.course.opening(self.state)
        if opening is not None:
            self.state = self.course.opened(self.state, self._run(opening))

    def observe(self, t, name, values, mask):
        observation = Observation((t,), {name: values[None]}, {name: mask[None]})
        frames = self.course.frames(self.state)
        [measurement] = read(observation, self.manifest, frames, self.state.t)
        outcome = self._run(self.course.approach(self.state, measurement))
        self.state = self.course.observed(self.state, measurement, outcome)

    def predict(self, t):
        forecast = self.course.forecast(self.state, [t])
        outputs = forecast.outputs if isinstance(forecast, Reading) else self._run(forecast).outputs
        return outputs[-1][0]

    def move(self):
        """To another server and back."""
        self.state = decode(encode(self.state, self.manifest), self.manifest)

    def _run(self, ask: Ask):
        state = self.state
        job = SolveJob(
            id="",
            model=state.model,
            inputs=ask.inputs,
            parameters=state.parameters,
            submitted_at=0.0,
            context=ask.context,
            work=ask.work,
            states=ask.states,
        )
        return answer(job)


masks = st.lists(st.booleans(), min_size=SIZE, max_size=SIZE).map(np.array)
#: Steps to the next measurement, what is measured, and whether the session moves before.
events = st.lists(st.tuples(st.integers(1, 40), masks, st.booleans()), max_size=6)


@settings(max_examples=60)
@given(events, st.integers(1, 5))
def test_a_rollout_is_a_loop_with_corrections(events, ahead):
    session, w, steps = Session("drift", (FIELD, FORCING), (0.5,)), FIELD, 0
    for gap, mask, moves in events:
        if moves:
            session.move()
        steps += gap
        measured = np.full(SIZE, steps, np.float32)
        session.observe(round(1 + DT * steps, 6), "w", measured, mask)
        for _ in range(gap):
            w = np.float32(0.5) * w + FORCING
        w = np.where(mask, measured, w)
    for _ in range(ahead):
        w = np.float32(0.5) * w + FORCING
    np.testing.assert_array_equal(session.predict(round(1 + DT * (steps + ahead), 6)), w)


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(
            st.floats(1e-3, 5 * DT),
            st.tuples(st.floats(-1, 1), st.floats(-1, 1)),
            st.tuples(st.booleans(), st.booleans()),
            st.booleans(),
        ),
        max_size=6,
    ),
    st.floats(1e-3, 5 * DT),
)
def test_a_cascade_is_a_loop_with_corrections(events, ahead):
    x = np.array([0.3, -0.2], np.float32)
    session, t = Session("pendulum", (x[None],)), 1.0
    layers, observers = open_loop(x, OPTIONS.horizon_steps)
    for gap, values, mask, moves in events:
        if moves:
            session.move()
        before, t = t, t + gap
        measured, mask = np.array(values, np.float32), np.array(mask)
        filled = np.where(mask, measured, between(layers, DT, [t - before])[0])
        session.observe(t, "x", measured, mask)
        layers, observers = corrected(layers, observers, filled, t - before, OPTIONS.gain)
    expected = between(layers, DT, [(t + ahead) - t])[0]
    np.testing.assert_allclose(session.predict(t + ahead), expected, rtol=1e-6, atol=1e-6)

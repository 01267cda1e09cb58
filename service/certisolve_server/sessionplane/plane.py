"""Opens, corrects and asks sessions."""

import asyncio
import math
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, TypeVar

from certisolve_server import admission
from certisolve_server.answers import Solution
from certisolve_server.broker import AbstractBroker
from certisolve_server.catalog import Catalog
from certisolve_server.errors import (
    BodyTooLarge,
    ErrorCode,
    InvalidOption,
    NotFinite,
    ServingError,
    SessionConflict,
)
from certisolve_server.job_ids import JobIds
from certisolve_server.jobs import Artifact, SolveRequest, Terms
from certisolve_server.sessions import AbstractSessionStore, course_of
from certisolve_server.sessions.course import AbstractCourse, Reading
from certisolve_server.sessions.info import SessionInfo, info_of
from certisolve_server.sessions.measurements import Observation, digest, read
from certisolve_server.sessions.opening import (
    OpenRequest,
    SessionDefaults,
    as_histories,
    check_options,
    check_parameters,
    options_of,
)
from certisolve_server.sessions.snapshot import decode, encode, model_of
from certisolve_server.sessions.state import SessionState
from certisolve_server.solutions import solution_of
from certisolve_server.telemetry import Metrics, Tracing

from .runner import Runner

_Answer = TypeVar("_Answer")
_PLAIN = Terms()
# Hashing more than this would keep other calls waiting.
_MAX_HASHED_IN_PLACE = 1 << 20


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """What one session may take.

    Attributes:
        max_body_bytes: of its state, and of one forecast.
        max_wait_s: longest a call may take without a deadline of its own.
        defaults: of its options.
    """

    max_body_bytes: int
    max_wait_s: float
    defaults: SessionDefaults = field(default_factory=SessionDefaults)


class SessionPlane:
    """Sessions.

    Nothing of a session stays here between calls, so that any process with the same store may
    answer the next one.

    Arguments:
        catalog: the models.
        broker: where jobs go.
        store: where sessions are kept.
        limits: beyond which calls are refused.
        metrics: what is counted.
        tracing: where spans go; None keeps none.
        clock: Unix seconds.
    """

    def __init__(
        self,
        catalog: Catalog,
        broker: AbstractBroker,
        store: AbstractSessionStore,
        limits: SessionLimits,
        metrics: Metrics,
        *,
        tracing: Tracing | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.limits = limits
        self._store = store
        self._metrics = metrics
        self._ids = JobIds()
        self._runner = Runner(
            catalog,
            broker,
            limits.max_wait_s,
            metrics,
            tracing=tracing or Tracing.disabled(),
            clock=clock,
        )

    async def open(self, request: OpenRequest) -> SessionInfo:
        """Begin a session.

        Raises:
            ServingError: refused, or what it begins with was not computed in time.
        """
        return await self._counted(request.model, self._open(request))

    async def restore(self, data: bytes) -> SessionInfo:
        """Begin a session where a snapshot was taken.

        Raises:
            ServingError: refused.
        """
        course = course_of(self._runner.artifact(model_of(data)).manifest)
        state = decode(data, course.manifest)
        check_options(state.options, course.manifest, self.limits.defaults)
        check_parameters(state.parameters, course.manifest)
        course.resolution(state.inputs)
        self._check_size(state.num_bytes)
        return await self._create(state, course)

    async def get(self, session_id: str) -> SessionInfo:
        """Where a session stands.

        Raises:
            UnknownSession: never opened, closed, or forgotten.
        """
        return (await self._read(session_id)).info

    async def observe(
        self, session_id: str, observation: Observation, terms: Terms = _PLAIN
    ) -> SessionInfo:
        """Correct a session by measurements; all of them count, or none.

        An observation that comes twice in a row counts once, so that it may be sent again.

        Raises:
            ServingError: refused, or not computed in time; the session stands where it stood.
        """
        held = await self._read(session_id)
        return await self._counted(held.name, self._observe(held, observation, terms))

    async def predict(self, session_id: str, t: Sequence[float], terms: Terms = _PLAIN) -> Solution:
        """A forecast; the session stays as it is.

        Args:
            session_id: of the session.
            t: times of its clock, ascending, after that of its state.
            terms: when, for whom and how urgently.

        Raises:
            ServingError: refused, or not computed in time.
        """
        held = await self._read(session_id)
        return await self._counted(held.name, self._predict(held, tuple(t), terms))

    async def snapshot(self, session_id: str) -> bytes:
        """A session as bytes, for `restore`.

        Raises:
            UnknownSession: never opened, closed, or forgotten.
        """
        return (await self._store.read(session_id)).data

    async def close(self, session_id: str) -> None:
        """Forget a session.

        Raises:
            UnknownSession: never opened, closed, or forgotten.
        """
        await self._store.delete(session_id)

    # --- Steps of a call --------------------------------------------------------------------------

    async def _open(self, request: OpenRequest) -> SessionInfo:
        artifact = self._runner.newest(request.model, request.version)
        course = course_of(artifact.manifest)
        state = self._begun(request, artifact, course)
        self._check_size(state.num_bytes + course.answer_bytes(state, 0, with_states=True))
        opening = course.opening(state)
        if opening is not None:
            terms = self._runner.terms_of_call(request.terms)
            state = course.opened(state, await self._runner.run(state, opening, terms))
        return await self._create(state, course)

    def _begun(
        self, request: OpenRequest, artifact: Artifact, course: AbstractCourse
    ) -> SessionState:
        """The state that was sent, checked."""
        if not math.isfinite(request.t):
            raise NotFinite(f"{request.t} is no time", field="t")
        inputs = as_histories(request.inputs, artifact.manifest)
        solve = SolveRequest(
            model=request.model,
            version=request.version,
            inputs=inputs,
            untyped=request.untyped,
            parameters=request.parameters,
        )
        admitted = admission.check(solve, artifact.manifest)
        course.resolution(admitted.inputs)
        return SessionState(
            model=artifact.key,
            t=request.t,
            origin=request.t,
            steps=0,
            known_at=request.t,
            blended=False,
            inputs=admitted.inputs,
            states=(),
            parameters=admitted.parameters,
            options=options_of(request.wishes, artifact.manifest, self.limits.defaults),
        )

    async def _create(self, state: SessionState, course: AbstractCourse) -> SessionInfo:
        session_id, data = self._ids.next(), encode(state, course.manifest)
        await self._store.create(session_id, data, state.options.ttl_s)
        return info_of(session_id, state, 0, course.manifest)

    async def _observe(self, held: "_Held", observation: Observation, terms: Terms) -> SessionInfo:
        state, course, call = held.state, held.course, await _digest(observation)
        if call == state.last_call:
            return held.info
        measurements = read(observation, course.manifest, course.frames(state), state.t)
        terms = self._runner.terms_of_call(terms)
        for measurement in measurements:
            ask = course.approach(state, measurement)
            state = course.observed(state, measurement, await self._runner.run(state, ask, terms))
        state = replace(state, last_call=call)
        data = encode(state, course.manifest)
        try:
            await self._store.replace(held.id, held.sequence, data)
        except SessionConflict:
            # The same call may have come twice, and the other one was faster.
            now = await self._read(held.id)
            if now.state.last_call != call:
                raise
            return now.info
        return info_of(held.id, state, held.sequence + 1, course.manifest)

    async def _predict(self, held: "_Held", t: tuple[float, ...], terms: Terms) -> Solution:
        state, artifact = held.state, self._runner.artifact(held.state.model)
        forecast = held.course.forecast(state, t)
        if isinstance(forecast, Reading):
            return solution_of(forecast.outcome(state.model), artifact)
        if forecast.num_answer_bytes > self.limits.max_body_bytes:
            raise InvalidOption(
                f"the forecast would have {forecast.num_answer_bytes} bytes; at most "
                f"{self.limits.max_body_bytes}: ask for fewer times",
                field="t",
            )
        outcome = await self._runner.run(state, forecast, self._runner.terms_of_call(terms))
        if outcome.t is not None:
            # It ended early, at times that a job counts from the state.
            outcome = replace(outcome, t=tuple(state.t + time for time in outcome.t))
        return solution_of(outcome, artifact)

    async def _read(self, session_id: str) -> "_Held":
        record = await self._store.read(session_id)
        course = course_of(self._runner.artifact(model_of(record.data)).manifest)
        return _Held(session_id, decode(record.data, course.manifest), course, record.sequence)

    def _check_size(self, num_bytes: int) -> None:
        if num_bytes > self.limits.max_body_bytes:
            raise BodyTooLarge(
                f"a session of {num_bytes} bytes; at most {self.limits.max_body_bytes}"
            )

    async def _counted(self, model: str, answer: Coroutine[Any, Any, _Answer]) -> _Answer:
        try:
            answered = await answer
        except ServingError as error:
            # A label per misspelt model would let strangers grow the metrics without bound.
            known = "" if error.code == ErrorCode.UNKNOWN_MODEL else model
            self._metrics.request_done(known, error.code)
            raise
        except asyncio.CancelledError:
            self._metrics.request_done(model, ErrorCode.CANCELLED)
            raise
        self._metrics.request_done(model, "ok")
        return answered


async def _digest(observation: Observation) -> str:
    if observation.num_bytes <= _MAX_HASHED_IN_PLACE:
        return digest(observation)
    return await asyncio.to_thread(digest, observation)


class _Held(NamedTuple):
    """A session in hand."""

    id: str
    state: SessionState
    course: AbstractCourse
    sequence: int

    @property
    def name(self) -> str:
        """Of the model."""
        return self.course.manifest.name

    @property
    def info(self) -> SessionInfo:
        """What is told of it."""
        return info_of(self.id, self.state, self.sequence, self.course.manifest)

"""What is told of a session."""

from dataclasses import dataclass

from certisolve.manifest import Manifest
from certisolve_server.jobs import ModelKey

from .gains import noise_gain
from .state import SessionState


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """A session as it stands.

    Attributes:
        t: time of its state.
        sequence: grows by one with each change.
        state_bytes: size of its arrays.
        expires_in_s: seconds until it is forgotten, without a call.
        gain: factor on the gains; None for families without.
        noise_gain: by which noise of a measurement is amplified over the whole horizon.
    """

    id: str
    model: ModelKey
    t: float
    sequence: int
    state_bytes: int
    expires_in_s: float
    gain: float | None = None
    noise_gain: float | None = None


def info_of(session_id: str, state: SessionState, sequence: int, manifest: Manifest) -> SessionInfo:
    """What is told of a session, just after a call."""
    options, feedback = state.options, manifest.family == "feedback-ode"
    amplified = noise_gain(manifest, options.horizon_steps, options.gain) if feedback else None
    return SessionInfo(
        id=session_id,
        model=state.model,
        t=state.t,
        sequence=sequence,
        state_bytes=state.num_bytes,
        expires_in_s=options.ttl_s,
        gain=options.gain if feedback else None,
        noise_gain=amplified,
    )

"""gRPC messages of sessions to requests, and back."""

from certisolve.v1 import model_pb2, session_pb2
from certisolve_server.jobs import Terms
from certisolve_server.sessions.info import SessionInfo
from certisolve_server.sessions.measurements import Observation
from certisolve_server.sessions.opening import OpenRequest, Wishes

from .messages import to_arrays


def to_opening(message: session_pb2.OpenSession, terms: Terms) -> OpenRequest:
    """The session that a message opens; its arrays are views of the message.

    Raises:
        InvalidRequest: a subclass that names the field at fault.
    """
    options = message.options
    return OpenRequest(
        model=message.model,
        version=message.version or None,
        inputs=to_arrays("inputs", message.inputs),
        parameters=dict(message.parameters),
        t=message.t,
        wishes=Wishes(
            horizon_steps=options.horizon_steps if options.HasField("horizon_steps") else None,
            gain=options.gain if options.HasField("gain") else None,
            automatic_gain=options.automatic_gain,
            max_noise_gain=options.max_noise_gain if options.HasField("max_noise_gain") else None,
            ttl_s=options.ttl_s if options.HasField("ttl_s") else None,
        ),
        terms=terms,
    )


def to_observation(message: session_pb2.Measurements) -> Observation:
    """The measurements in a message; their arrays are views of it.

    Raises:
        InvalidRequest: a subclass that names the field at fault.
    """
    return Observation(
        t=tuple(message.t),
        values=to_arrays("values", message.values),
        masks=to_arrays("masks", message.masks),
    )


def to_session(info: SessionInfo) -> session_pb2.SessionInfo:
    """A session as a message."""
    return session_pb2.SessionInfo(
        id=info.id,
        model=model_pb2.ModelRef(**info.model._asdict()),
        t=info.t,
        sequence=info.sequence,
        state_bytes=info.state_bytes,
        expires_in_s=info.expires_in_s,
        gain=info.gain,
        noise_gain=info.noise_gain,
    )

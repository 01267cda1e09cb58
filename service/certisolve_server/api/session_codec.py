"""Bodies of calls to sessions to requests, and what is told of sessions to bodies."""

from typing import Any

from certisolve_server.errors import UnknownInput
from certisolve_server.jobs import Terms
from certisolve_server.sessions.info import SessionInfo
from certisolve_server.sessions.measurements import Observation
from certisolve_server.sessions.opening import OpenRequest, Wishes
from certisolve_server.sessions.snapshot import KIND

from .bodies import Parts, take_apart, validated
from .session_schemas import ObserveBody, OpenSessionBody, PredictBody


def decode_opening(media_type: str, body: bytes, terms: Terms) -> OpenRequest | None:
    """The session that a body opens; None for a snapshot, which restores one.

    Raises:
        InvalidRequest: a subclass that names the field at fault.
    """
    parts = take_apart(media_type, body, "inputs")
    if parts.rest.get("kind") == KIND:
        return None
    parsed = validated(OpenSessionBody, parts.rest)
    return OpenRequest(
        model=parsed.model,
        version=parsed.version,
        inputs=parts.tensors["inputs"],
        untyped=parts.untyped,
        parameters=parsed.parameters,
        t=parsed.t,
        wishes=Wishes(**parsed.options.model_dump()),
        terms=terms,
    )


def decode_observation(media_type: str, body: bytes) -> Observation:
    """The measurements in a body.

    Raises:
        InvalidRequest: a subclass that names the field at fault.
    """
    parts = take_apart(media_type, body, "values", "masks")
    return Observation(
        t=tuple(validated(ObserveBody, parts.rest).t),
        values=parts.tensors["values"],
        masks=parts.tensors["masks"],
        untyped=parts.untyped,
    )


def decode_times(media_type: str, body: bytes) -> tuple[float, ...]:
    """The times of a forecast.

    Raises:
        InvalidRequest: a subclass that names the field at fault.
    """
    parts: Parts = take_apart(media_type, body, "values")
    if parts.tensors["values"]:
        raise UnknownInput("a forecast takes times alone; observe what was measured")
    return tuple(validated(PredictBody, parts.rest).t)


def session_document(info: SessionInfo) -> dict[str, Any]:
    """A session as a JSON document."""
    return {
        "id": info.id,
        "model": info.model._asdict(),
        "t": info.t,
        "sequence": info.sequence,
        "state_bytes": info.state_bytes,
        "expires_in_s": info.expires_in_s,
        "gain": info.gain,
        "noise_gain": info.noise_gain,
    }

"""Builds calls to sessions and reads their replies, without I/O."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ._arguments import Priority, check_count, check_finite, check_name, check_priority
from ._arrays import Array, Tensor, to_array, to_arrays
from ._calls import Call, Reply, read_model_ref, read_solution, reading
from ._results import ModelRef, Solution
from .wire import encode_safetensors

#: Prefix of the tensors of an observation that are masks.
MASKS = "masks."


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """A session as the server last described it.

    Attributes:
        id: names the session on the server.
        model: which program it belongs to.
        t: time of its state.
        sequence: grows by one with each change.
        state_bytes: size of its state.
        expires_in_s: seconds until it is forgotten, without a call.
        gain: feedback models: factor on the gains; None for others.
        noise_gain: feedback models: by which noise of a measurement is amplified over the horizon.
    """

    id: str
    model: ModelRef
    t: float
    sequence: int
    state_bytes: int
    expires_in_s: float
    gain: float | None = None
    noise_gain: float | None = None


@dataclass(frozen=True, slots=True)
class Manner:
    """How the calls of a session are sent.

    Attributes:
        tenant: on whose account; None for the server's default.
        priority: among the jobs of the tenant.
        timeout_s: seconds that a call may take in all; None for no limit.
    """

    tenant: str | None
    priority: Priority
    timeout_s: float | None

    def __post_init__(self) -> None:
        """Refuse a priority that there is not.

        Raises:
            ValueError: with those that there are.
        """
        check_priority(self.priority)


def build_open(
    model: str,
    inputs: Mapping[str, Tensor],
    manner: Manner,
    *,
    parameters: Mapping[str, float] | None,
    t: float,
    version: str | None,
    horizon_steps: int | None,
    gain: float | None,
    automatic_gain: bool,
    max_noise_gain: float | None,
    ttl_s: float | None,
) -> Call:
    """The call that begins a session.

    Raises:
        TypeError: an input is not an array of numbers, or a number of steps no whole number.
        ValueError: a parameter, time or option is not finite.
    """
    options: dict[str, Any] = {"automatic_gain": True} if automatic_gain else {}
    numbers = {"gain": gain, "max_noise_gain": max_noise_gain, "ttl_s": ttl_s}
    options |= {k: check_finite(k, value) for k, value in numbers.items() if value is not None}
    if horizon_steps is not None:
        options["horizon_steps"] = check_count("horizon_steps", horizon_steps, least=1)
    body: dict[str, Any] = {"model": check_name("model", model), "t": check_finite("t", t)}
    if parameters:
        body["parameters"] = {k: check_finite(f"parameters.{k}", v) for k, v in parameters.items()}
    if options:
        body["options"] = options
    tensors = to_arrays(inputs)
    return _call("open_session", manner, model=model, version=version, tensors=tensors, body=body)


def build_restore(snapshot: bytes, manner: Manner) -> Call:
    """The call that begins a session where a snapshot was taken."""
    return _call("restore_session", manner, data=bytes(snapshot))


def build_get(session_id: str, manner: Manner) -> Call:
    """The call that asks where a session stands."""
    return _call("get_session", manner, session_id=session_id)


def build_observe(
    session_id: str,
    t: float | Sequence[float] | Array,
    values: Mapping[str, Tensor],
    mask: Mapping[str, Tensor] | None,
    manner: Manner,
) -> Call:
    """The call that corrects a session by what was measured.

    Raises:
        TypeError: a value is not an array of numbers, or a mask not one of booleans.
        ValueError: a time is not finite.
    """
    times = np.asarray(t)
    tensors = {
        name: _per_time(times, to_array(f"values.{name}", value)) for name, value in values.items()
    }
    for name, value in (mask or {}).items():
        taken = to_array(f"masks.{name}", value)
        if taken.dtype != np.bool_:
            raise TypeError(f"masks.{name}: must be of booleans, true where measured")
        tensors[MASKS + name] = _per_time(times, taken)
    body = {"t": [check_finite("t", value) for value in np.atleast_1d(times).tolist()]}
    return _call("observe", manner, session_id=session_id, tensors=tensors, body=body)


def build_predict(session_id: str, t: float | Sequence[float] | Array, manner: Manner) -> Call:
    """The call that asks for a forecast.

    Raises:
        ValueError: a time is not finite, or there is none.
    """
    times = [check_finite("t", value) for value in np.atleast_1d(np.asarray(t)).tolist()]
    if not times:
        raise ValueError("t: name at least one time")
    return _call("predict", manner, session_id=session_id, body={"t": times})


def build_snapshot(session_id: str, manner: Manner) -> Call:
    """The call that takes a session away as bytes."""
    return _call("snapshot", manner, session_id=session_id)


def build_close(session_id: str, manner: Manner) -> Call:
    """The call that ends a session."""
    return _call("close_session", manner, session_id=session_id)


def read_session(reply: Reply) -> SessionInfo:
    """A session as it stands.

    Raises:
        InvalidReply: the reply lacks something.
    """
    with reading("session"):
        body = reply.body
        return SessionInfo(
            id=str(body["id"]),
            model=read_model_ref(body["model"]),
            t=float(body["t"]),
            sequence=int(body["sequence"]),
            state_bytes=int(body["state_bytes"]),
            expires_in_s=float(body["expires_in_s"]),
            gain=body.get("gain"),
            noise_gain=body.get("noise_gain"),
        )


def read_forecast(reply: Reply) -> Solution:
    """The solution in the reply to a `predict`.

    Raises:
        InvalidReply: the reply lacks something.
    """
    with reading("predict"):
        return read_solution(reply.tensors, reply.body)


def read_snapshot(reply: Reply) -> bytes:
    """A session as bytes, as the server would take it back."""
    return encode_safetensors(reply.tensors, reply.body)


def _call(operation: Any, manner: Manner, **what: Any) -> Call:
    return Call(
        operation=operation,
        timeout_s=manner.timeout_s,
        tenant=manner.tenant,
        priority=manner.priority,
        **what,
    )


def _per_time(times: Array, array: Array) -> Array:
    # A single time without an axis has values without one.
    return array if times.ndim else array[np.newaxis]

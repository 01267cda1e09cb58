"""Builds the calls that ask for a solution; no I/O."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypedDict

import numpy as np

from ._arguments import (
    Priority,
    check_count,
    check_finite,
    check_key,
    check_keywords,
    check_name,
    check_priority,
)
from ._arrays import Array, Tensor, to_arrays
from ._calls import Call, check_timeout


class Asked(TypedDict, total=False):
    """What is asked for beside the inputs, and on which terms: as for `Client.solve`."""

    parameters: Mapping[str, float] | None
    t: float | Sequence[float] | Array | None
    steps: int | None
    save_every: int | None
    resume_from: int | None
    version: str | None
    tolerance: float | None
    rtol: float | None
    atol: float | None
    diagnostics: bool
    priority: Priority
    timeout: float | None


class Defaults(NamedTuple):
    """What a client says of all its calls.

    Attributes:
        tenant: on whose account; None for the server's default.
        timeout_s: seconds that a call may take which asks for nothing else; None for no limit.
    """

    tenant: str | None
    timeout_s: float | None


def build_solve(
    operation: Literal["solve", "submit_solve", "stream"],
    model: str,
    inputs: Mapping[str, Tensor],
    asked: Asked,
    defaults: Defaults,
    idempotency_key: str | None = None,
) -> Call:
    """The call that computes fields, now, as a job or frame by frame.

    Args:
        operation: which of these.
        model: its name.
        inputs: by name.
        asked: what was passed beside them.
        defaults: of the client.
        idempotency_key: None for none.

    Raises:
        TypeError: an argument is none, an input no array of numbers, or a number of steps no whole
            number.
        ValueError: a parameter, time, number of steps, tolerance, timeout, priority or key is out
            of its range.
    """
    check_keywords(asked, Asked)
    timeout = asked.get("timeout")
    return Call(
        operation=operation,
        model=check_name("model", model),
        version=asked.get("version"),
        tensors=to_arrays(inputs),
        body=_body(asked),
        timeout_s=check_timeout(defaults.timeout_s if timeout is None else timeout),
        tenant=defaults.tenant,
        priority=check_priority(asked.get("priority", "normal")),
        idempotency_key=check_key(idempotency_key),
    )


def _body(asked: Asked) -> dict[str, Any]:
    body: dict[str, Any] = {}
    if parameters := asked.get("parameters"):
        body["parameters"] = {k: check_finite(f"parameters.{k}", v) for k, v in parameters.items()}
    if (t := asked.get("t")) is not None:
        body["t"] = _times(t)
    if (steps := asked.get("steps")) is not None:
        body["steps"] = check_count("steps", steps, least=1)
    if options := _options(asked):
        body["options"] = options
    return body


def _times(t: float | Sequence[float] | Array) -> list[float]:
    times = np.atleast_1d(np.asarray(t)).tolist()
    if not times:
        raise ValueError("t: name at least one time, or leave it out")
    return [check_finite("t", value) for value in times]


def _options(asked: Asked) -> dict[str, Any]:
    options: dict[str, Any] = {} if asked.get("diagnostics", True) else {"diagnostics": False}
    tolerances = {
        "tolerance": asked.get("tolerance"),
        "rtol": asked.get("rtol"),
        "atol": asked.get("atol"),
    }
    for name, value in tolerances.items():
        if value is not None:
            options[name] = check_finite(name, value)
    if (save_every := asked.get("save_every")) is not None:
        options["save_every"] = check_count("save_every", save_every, least=1)
    if (resume_from := asked.get("resume_from")) is not None:
        options["resume_from"] = check_count("resume_from", resume_from, least=0)
    return options

"""Builds the calls that ask for a certificate; no I/O."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict, get_args

import numpy as np

from ._arguments import (
    Priority,
    check_count,
    check_finite,
    check_key,
    check_keywords,
    check_mapping,
    check_name,
    check_priority,
)
from ._arrays import Array, Tensor, to_exact_array
from ._calls import Call, check_timeout
from ._solves import Defaults

#: In which differences are measured. `grid_l2`: l2 with the square root of a grid cell's volume as
#: weight, the L2 norm of functions, which does not depend on the resolution.
Norm = Literal["l1", "l2", "linf", "grid_l2"]

#: Of what a bound holds: of the map on real numbers, or of the program that rounds.
Soundness = Literal["real", "float"]

#: Seconds of search where nothing else is asked for.
DEFAULT_BUDGET_S = 10.0


class Question(TypedDict, total=False):
    """Which bound is asked for, and on which terms: as for `Client.certify`."""

    center: Mapping[str, Tensor] | None
    radius: float | None
    norm: Norm | None
    lower: Mapping[str, Tensor] | None
    upper: Mapping[str, Tensor] | None
    domain: Literal["global"] | None
    inputs: Mapping[str, Tensor] | None
    parameters: Mapping[str, float] | None
    resolution: Sequence[int] | None
    input_norm: Norm | None
    output_norm: Norm | None
    input_scale: Mapping[str, Tensor] | None
    output_scale: Mapping[str, Tensor] | None
    output: str | None
    component: int | None
    soundness: Soundness
    budget_s: float
    gap: float | None
    max_splits: int | None
    steps: int | None
    t: float | None
    seed: int
    version: str | None
    priority: Priority
    timeout: float | None


def build_certify(
    operation: Literal["certify", "submit_certify"],
    model: str,
    question: Question,
    defaults: Defaults,
    idempotency_key: str | None = None,
) -> Call:
    """The call that asks for a certificate, now or as a job.

    Raises:
        TypeError: an argument is none, or an input no array of numbers.
        ValueError: there is no set or more than one, or a number is out of its range.
    """
    check_keywords(question, Question)
    domain, tensors = _domain(question)
    for role in ("inputs", "input_scale", "output_scale"):
        tensors |= _tensors(role, question.get(role))  # type: ignore[arg-type]  # all three alike
    timeout, version = question.get("timeout"), question.get("version")
    return Call(
        operation=operation,
        model=check_name("model", model),
        version=None if version is None else check_name("version", version),
        tensors=tensors,
        body={"domain": domain, **_body(question)},
        timeout_s=check_timeout(_limit(question, defaults) if timeout is None else timeout),
        tenant=defaults.tenant,
        priority=check_priority(question.get("priority", "normal")),
        idempotency_key=check_key(idempotency_key),
    )


def _domain(question: Question) -> tuple[dict[str, Any] | str, dict[str, Array]]:
    """The set: what of it is JSON, and its tensors."""
    center, lower, upper = (question.get(name) for name in ("center", "lower", "upper"))
    whole, radius = question.get("domain"), question.get("radius")
    if whole is not None:
        if whole != "global":
            raise ValueError(f"domain: must be 'global', got {whole!r}")
        if any(each is not None for each in (center, radius, lower, upper)):
            raise ValueError("domain: name a ball, a box or 'global', not several of them")
        _refuse_norm(question)
        return "global", {}
    tensors = _tensors("domain.lower", lower) | _tensors("domain.upper", upper)  # type: ignore[arg-type]
    if center is None:
        _refuse_norm(question)
        if radius is not None or lower is None or upper is None:
            raise ValueError("center, radius: both for a ball; lower, upper: both for a box")
        return {}, tensors
    if radius is None:
        raise ValueError("radius: say how large the ball around the center is")
    size = check_finite("radius", radius)
    if size < 0:
        raise ValueError(f"radius: must not be negative, got {size}")
    norm = _check_choice("norm", question.get("norm") or "l2", Norm)
    return {"radius": size, "norm": norm}, tensors | _tensors("domain.center", center)  # type: ignore[arg-type]


def _refuse_norm(question: Question) -> None:
    if question.get("norm") is not None:
        raise ValueError("norm: of the radius of a ball; name input_norm and output_norm instead")


def _body(question: Question) -> dict[str, Any]:
    body: dict[str, Any] = {
        "budget_s": _check_seconds("budget_s", question.get("budget_s", DEFAULT_BUDGET_S))
    }
    for norm in ("input_norm", "output_norm"):
        if (value := question.get(norm)) is not None:
            body[norm] = _check_choice(norm, value, Norm)
    body |= _counts(question)
    if (t := question.get("t")) is not None:
        body["t"] = _check_seconds("t", t)
    if (gap := question.get("gap")) is not None:
        body["gap"] = check_finite("gap", gap)
    if (output := question.get("output")) is not None:
        body["output"] = check_name("output", output)
    if (soundness := question.get("soundness")) is not None:
        body["soundness"] = _check_choice("soundness", soundness, Soundness)
    if parameters := check_mapping("parameters", question.get("parameters")):
        body["parameters"] = {k: check_finite(f"parameters.{k}", v) for k, v in parameters.items()}
    return body


def _counts(question: Question) -> dict[str, Any]:
    counts: dict[str, Any] = {}
    for name, least in (("component", 0), ("max_splits", 1), ("steps", 1), ("seed", 0)):
        if (value := question.get(name)) is not None:
            counts[name] = check_count(name, value, least=least)  # type: ignore[arg-type]
    if (resolution := question.get("resolution")) is not None:
        if not isinstance(resolution, Sequence | np.ndarray):
            raise TypeError(f"resolution: must be one size per grid axis, got {resolution!r}")
        counts["resolution"] = [check_count("resolution", size, least=1) for size in resolution]
    return counts


def _tensors(role: str, given: Mapping[str, Tensor] | None) -> dict[str, Array]:
    """By path; bounds hold at these numbers exactly, so float64 stays what it is."""
    paths = {f"{role}.{name}": value for name, value in check_mapping(role, given).items()}
    return {path: to_exact_array(path, value) for path, value in paths.items()}


def _limit(question: Question, defaults: Defaults) -> float | None:
    """Seconds for the search and for everything else."""
    if defaults.timeout_s is None:
        return None
    return defaults.timeout_s + _check_seconds(
        "budget_s", question.get("budget_s", DEFAULT_BUDGET_S)
    )


def _check_choice(name: str, value: object, choices: object) -> str:
    if value not in get_args(choices):
        raise ValueError(f"{name}: must be one of {list(get_args(choices))}, got {value!r:.60}")
    return str(value)


def _check_seconds(name: str, value: float) -> float:
    seconds = check_finite(name, value)
    if seconds < 0:
        raise ValueError(f"{name}: must be a number of seconds, not negative, got {seconds}")
    return seconds

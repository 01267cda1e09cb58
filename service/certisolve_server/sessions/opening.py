"""With what a session begins; pure."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from certisolve.manifest import Manifest
from certisolve_server import horizon
from certisolve_server.errors import InvalidOption, MalformedBody, OutOfRange, WrongShape
from certisolve_server.jobs import Array, Terms

from .gains import check_gain, largest_gain
from .layout import is_history
from .state import SessionOptions

#: Longest time to live that a caller may ask for: a day.
MAX_TTL_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Wishes:
    """Options of a session as the caller names them; None for those left out.

    Attributes:
        automatic_gain: choose the largest gain up to 1 whose noise gain is within the limit.
    """

    horizon_steps: int | None = None
    gain: float | None = None
    automatic_gain: bool = False
    max_noise_gain: float | None = None
    ttl_s: float | None = None


@dataclass(frozen=True, slots=True)
class OpenRequest:
    """What a caller begins a session with, before it was checked against a manifest.

    Attributes:
        version: None for the newest.
        inputs: the state at `t`, by name; a frame, or a history of frames, the one at `t` last.
        untyped: names of the inputs that came as plain JSON numbers, without an element type.
        t: time of the session's clock.
        terms: when, for whom and how urgently.
    """

    model: str
    version: str | None
    inputs: Mapping[str, Array]
    untyped: frozenset[str] = frozenset()
    parameters: Mapping[str, float] = field(default_factory=dict)
    t: float = 0.0
    wishes: Wishes = field(default_factory=Wishes)
    terms: Terms = field(default_factory=Terms)


@dataclass(frozen=True, slots=True)
class SessionDefaults:
    """What holds where the caller says nothing.

    Attributes:
        ttl_s: seconds without a call after which a session is forgotten.
        max_noise_gain: above which a noise gain is refused.
    """

    ttl_s: float = 3600.0
    max_noise_gain: float = 1000.0


def options_of(wishes: Wishes, manifest: Manifest, defaults: SessionDefaults) -> SessionOptions:
    """The options of a session.

    Raises:
        InvalidOption: one that the family does not have.
        OutOfRange: one that cannot be; of the noise gain, see `check_gain`.
    """
    ttl_s = defaults.ttl_s if wishes.ttl_s is None else wishes.ttl_s
    if not 0 < ttl_s <= MAX_TTL_S:
        raise OutOfRange(f"{ttl_s:g}: use up to {MAX_TTL_S:g} seconds", field="options.ttl_s")
    if manifest.family != "feedback-ode":
        _check_plain(wishes, manifest)
        return SessionOptions(0, 1.0, defaults.max_noise_gain, ttl_s)
    assert manifest.stepping is not None
    limit = defaults.max_noise_gain if wishes.max_noise_gain is None else wishes.max_noise_gain
    if not 1 <= limit < math.inf:
        raise OutOfRange(
            f"{limit:g}: no feedback at all has a noise gain of 1", field="options.max_noise_gain"
        )
    num_steps = wishes.horizon_steps
    num_steps = manifest.stepping.max_steps if num_steps is None else num_steps
    if not 1 <= num_steps <= horizon.MAX_STEPS:
        raise OutOfRange(f"use 1 to {horizon.MAX_STEPS}", field="options.horizon_steps")
    gain = _gain(wishes, manifest, num_steps, limit)
    return SessionOptions(num_steps, gain, limit, ttl_s)


def check_options(options: SessionOptions, manifest: Manifest, defaults: SessionDefaults) -> None:
    """Refuse options of a snapshot that a session could not be opened with.

    Raises:
        InvalidRequest: as `options_of`.
    """
    feedback = manifest.family == "feedback-ode"
    wishes = Wishes(
        horizon_steps=options.horizon_steps if feedback else None,
        gain=options.gain if feedback else None,
        max_noise_gain=options.max_noise_gain if feedback else None,
        ttl_s=options.ttl_s,
    )
    options_of(wishes, manifest, defaults)


def check_parameters(values: Sequence[float], manifest: Manifest) -> None:
    """Refuse parameters of a snapshot that a session could not be opened with.

    Raises:
        MalformedBody: not as many as the program takes.
        OutOfRange: one that was not validated.
    """
    specs = [spec for spec in manifest.parameters if spec.program_input]
    if len(values) != len(specs):
        raise MalformedBody(f"expected {len(specs)} parameters", field="parameters")
    for spec, value in zip(specs, values, strict=True):
        if not spec.minimum <= value <= spec.maximum:
            raise OutOfRange(
                f"{value:g} was not validated; use {spec.minimum:g} to {spec.maximum:g}",
                field=f"parameters.{spec.name}",
            )


def as_histories(inputs: Mapping[str, Array], manifest: Manifest) -> dict[str, Array]:
    """The inputs, a frame that stands for a history as a history of one.

    Raises:
        WrongShape: several measurements for the family `feedback-ode`.
    """
    histories = {spec.name: spec for spec in manifest.inputs if is_history(manifest, spec)}
    taken = {
        name: array[np.newaxis]
        if name in histories and array.ndim == len(histories[name].axes) - 1
        else array
        for name, array in inputs.items()
    }
    for name in histories if manifest.family == "feedback-ode" else ():
        if name in taken and taken[name].ndim and len(taken[name]) > 1:
            raise WrongShape(
                "a session begins with one measurement; observe the others",
                field=f"inputs.{name}",
            )
    return taken


def _gain(wishes: Wishes, manifest: Manifest, num_steps: int, limit: float) -> float:
    if wishes.automatic_gain:
        if wishes.gain is not None:
            raise InvalidOption("is chosen with automatic_gain; leave it out", field="options.gain")
        return largest_gain(manifest, num_steps, limit)
    gain = 1.0 if wishes.gain is None else wishes.gain
    if not 0 <= gain < math.inf:
        raise OutOfRange(f"{gain:g}: must not be negative", field="options.gain")
    check_gain(manifest, num_steps, gain, limit)
    return gain


def _check_plain(wishes: Wishes, manifest: Manifest) -> None:
    given = {
        "horizon_steps": wishes.horizon_steps is not None,
        "gain": wishes.gain is not None,
        "automatic_gain": wishes.automatic_gain,
        "max_noise_gain": wishes.max_noise_gain is not None,
    }
    for name, is_given in given.items():
        if is_given:
            raise InvalidOption(
                f"{manifest.name} is not of the family feedback-ode", field=f"options.{name}"
            )

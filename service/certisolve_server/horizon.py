"""How far a model that advances in time is asked to go; pure."""

import itertools
import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import NamedTuple

from certisolve.manifest import Integration, Manifest, Stepping, ValidatedResolution

from .errors import InvalidOption, OutOfRange

#: Times may be off a multiple of the step by this share of it: they are sums of decimal fractions.
_SAME_TIME = 1e-3
#: Steps that are run for one request, however far the model was validated.
MAX_STEPS = 4096
#: How many horizons an integration may go; times that are asked of it.
MAX_HORIZONS = 4
MAX_TIMES = 4096


class Wanted(NamedTuple):
    """The frames that are asked for.

    Attributes:
        t: their times.
        steps: that they follow; empty for a model without steps of one size.
    """

    t: tuple[float, ...]
    steps: tuple[int, ...] = ()


def wanted(
    t: Sequence[float] | None,
    manifest: Manifest,
    *,
    steps: int | None = None,
    save_every: int | None = None,
    resume_from: int | None = None,
) -> Wanted:
    """The frames of a model that advances in time, ascending.

    Args:
        t: times asked for; None for the manifest's.
        manifest: with steps of one size, or with an integration, which answers at any times.
        steps: how many to go, instead of `t`.
        save_every: of every so many steps a frame is wanted too, up to the last one asked for;
            None for each with `steps`, for none but those of `t` otherwise.
        resume_from: frames up to the step of this number are left out.

    Raises:
        InvalidOption: none, too many, not ascending, nothing left, or no such steps.
        OutOfRange: one is between steps, or further than any request may go.
    """
    check_steps(manifest, steps=steps, save_every=save_every, resume_from=resume_from)
    if steps is not None and t is not None:
        raise InvalidOption("name t or steps, not both", field="steps")
    times = manifest.t if t is None else tuple(t)
    if not times:
        raise InvalidOption("name at least one time, or leave t out", field="t")
    if manifest.stepping is not None:
        ends = _ends(times, steps, manifest.stepping, manifest.name)
        every = 1 if save_every is None and steps is not None else save_every
        return _left(_spaced(ends, every, manifest.stepping), resume_from)
    assert manifest.integration is not None
    _check_times(times, manifest.integration, manifest.name)
    return Wanted(times)


def check_steps(manifest: Manifest, **asked: int | None) -> None:
    """Refuse what counts steps of a model that takes none of one size.

    Args:
        manifest: of the model.
        asked: `steps`, `save_every`, `resume_from`; None where it was left out.

    Raises:
        InvalidOption: it does not count steps, or a number makes no sense.
    """
    for name, number in asked.items():
        field = name if name == "steps" else f"options.{name}"
        if number is None:
            continue
        if manifest.stepping is None:
            told = "ask for times" if manifest.advances else "its answer is one frame"
            raise InvalidOption(f"{manifest.name} takes no steps of one size; {told}", field=field)
        least = 0 if name == "resume_from" else 1
        if number < least:
            raise InvalidOption(f"{number}: must be {least} or more", field=field)


def exceeded(wanted: Wanted, manifest: Manifest) -> bool:
    """Whether the way is longer than that for which errors were measured."""
    if manifest.integration is not None:
        return wanted.t[-1] > manifest.integration.horizon
    stepping = manifest.stepping
    return stepping is not None and max(wanted.steps, default=0) > stepping.max_steps


def longest(manifest: Manifest) -> float:
    """The last time that any request may ask for; infinite where times mean nothing."""
    if manifest.integration is not None:
        return MAX_HORIZONS * manifest.integration.horizon
    return math.inf if manifest.stepping is None else MAX_STEPS * manifest.stepping.dt


def error(resolution: ValidatedResolution, t: Sequence[float], manifest: Manifest) -> float | None:
    """Measured error at the last of `t`: that of the next time at which it was measured.

    None after the last one. The mean over all times where it was not measured by time.
    """
    if not resolution.t:
        return resolution.error
    stepping = manifest.stepping
    last = t[-1] - (_SAME_TIME * stepping.dt if stepping else 0.0)
    times = zip(resolution.t, resolution.error_at_t, strict=True)
    return next((error for time, error in times if time >= last), None)


def _steps(t: Sequence[float], stepping: Stepping, name: str) -> tuple[int, ...]:
    """Numbers of the steps that end at `t`."""
    for index, time in enumerate(t):
        steps = time / stepping.dt
        if not 0.5 < steps < MAX_STEPS + 0.5:
            longest = MAX_STEPS * stepping.dt
            raise OutOfRange(
                f"{time:g}: {name} answers from t = {stepping.dt:g} to {longest:g}",
                field=f"t.{index}",
            )
        if abs(steps - round(steps)) > _SAME_TIME:
            raise OutOfRange(
                f"{time:g} is not a multiple of the step {stepping.dt:g}", field=f"t.{index}"
            )
        if index and round(steps) <= round(t[index - 1] / stepping.dt):
            raise InvalidOption("times must ascend", field=f"t.{index}")
    return tuple(round(time / stepping.dt) for time in t)


def _ends(
    t: tuple[float, ...], steps: int | None, stepping: Stepping, name: str
) -> dict[int, float]:
    """Steps and times that the caller asked for by themselves."""
    if steps is None:
        return dict(zip(_steps(t, stepping, name), t, strict=True))
    if steps > MAX_STEPS:
        raise OutOfRange(f"{steps}: {name} takes 1 to {MAX_STEPS} steps", field="steps")
    return {steps: _time(steps, stepping)}


def _spaced(ends: dict[int, float], every: int | None, stepping: Stepping) -> dict[int, float]:
    """Those, and every so many before the last of them."""
    if every is None:
        return ends
    between = range(every, max(ends) + 1, every)
    # A time that was asked for stays as it was written.
    return {step: _time(step, stepping) for step in between} | ends


def _left(times: Mapping[int, float], resume_from: int | None) -> Wanted:
    """What is wanted after the step up to which all is known."""
    known, last = resume_from or 0, max(times)
    if known >= last:
        raise InvalidOption(
            f"nothing is left after step {known}: the last one asked for is {last}",
            field="options.resume_from",
        )
    steps = tuple(step for step in sorted(times) if step > known)
    return Wanted(tuple(times[step] for step in steps), steps)


def _time(step: int, stepping: Stepping) -> float:
    # Of the decimal that the manifest says: three steps of 0.1 end at 0.3.
    return float(Decimal(repr(stepping.dt)) * step)


def _check_times(t: Sequence[float], integration: Integration, name: str) -> None:
    if len(t) > MAX_TIMES:
        raise InvalidOption(f"{len(t)} times; ask for {MAX_TIMES} at most", field="t")
    latest = MAX_HORIZONS * integration.horizon
    for index, (before, time) in enumerate(itertools.pairwise((-math.inf, *t))):
        if not 0 < time <= latest:
            raise OutOfRange(
                f"{time:g}: {name} answers after t = 0, up to {latest:g}", field=f"t.{index}"
            )
        if time <= before:
            raise InvalidOption("times must ascend", field=f"t.{index}")

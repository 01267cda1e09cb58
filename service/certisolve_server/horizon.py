"""How far a model that advances in time is asked to go; pure."""

from collections.abc import Sequence

from certisolve.manifest import Manifest, Stepping, ValidatedResolution

from .errors import InvalidOption, OutOfRange

#: Times may be off a multiple of the step by this share of it: they are sums of decimal fractions.
_SAME_TIME = 1e-3
#: Steps that are run for one request, however far the model was validated.
MAX_STEPS = 4096


def check(t: Sequence[float], manifest: Manifest) -> tuple[float, ...]:
    """Times that steps of the model end at, ascending.

    Raises:
        InvalidOption: none, or not ascending.
        OutOfRange: one is between steps, or further than any request may go.
    """
    stepping = manifest.stepping
    assert stepping is not None
    if not t:
        raise InvalidOption("name at least one time, or leave t out", field="t")
    for index, time in enumerate(t):
        steps = time / stepping.dt
        if not 0.5 < steps < MAX_STEPS + 0.5:
            longest = MAX_STEPS * stepping.dt
            raise OutOfRange(
                f"{time:g}: {manifest.name} answers from t = {stepping.dt:g} to {longest:g}",
                field=f"t.{index}",
            )
        if abs(steps - round(steps)) > _SAME_TIME:
            raise OutOfRange(
                f"{time:g} is not a multiple of the step {stepping.dt:g}", field=f"t.{index}"
            )
        if index and round(steps) <= round(t[index - 1] / stepping.dt):
            raise InvalidOption("times must ascend", field=f"t.{index}")
    return tuple(t)


def steps(t: Sequence[float], manifest: Manifest) -> tuple[int, ...]:
    """Numbers of the steps that end at `t`; empty for a model that takes none."""
    stepping = manifest.stepping
    return () if stepping is None else tuple(round(time / stepping.dt) for time in t)


def exceeded(steps: Sequence[int], manifest: Manifest) -> bool:
    """Whether more steps are asked for than errors were measured for."""
    stepping = manifest.stepping
    return stepping is not None and max(steps, default=0) > stepping.max_steps


def error(resolution: ValidatedResolution, t: Sequence[float], stepping: Stepping) -> float | None:
    """Measured error at the last of `t`: that of the next time at which it was measured.

    None after the last one. The mean over all times where it was not measured by time.
    """
    if not resolution.t:
        return resolution.error
    last = t[-1] - _SAME_TIME * stepping.dt
    times = zip(resolution.t, resolution.error_at_t, strict=True)
    return next((error for time, error in times if time >= last), None)

"""By how much a cascade of observers amplifies noise; pure.

Layer i passes on what it is given plus dt times a correction, whose slope is at most s λ exp(-βi):
noise of a measurement grows by at most (Jia et al., 2024)

    G(s) = Π (1 + dt s λ exp(-βi)),   i = 0 ... N - 1

over N layers, where s is the session's factor on the gains.
"""

import math

from certisolve.manifest import Manifest
from certisolve_server.errors import OutOfRange

#: exp of more is beyond what floats hold.
_LARGEST_LOGARITHM = 700.0
#: Of the gain that `largest_gain` finds: halvings of the interval from 0 to 1.
_HALVINGS = 52


def noise_gain(manifest: Manifest, num_steps: int, gain: float) -> float:
    """G of a model of the family `feedback-ode`.

    Args:
        manifest: has dt, λ and β.
        num_steps: N.
        gain: s.
    """
    return math.exp(min(_logarithm(manifest, num_steps, gain), _LARGEST_LOGARITHM))


def largest_gain(manifest: Manifest, num_steps: int, limit: float) -> float:
    """The largest s up to 1 with G(s) <= `limit`.

    Args:
        manifest: of a model of the family `feedback-ode`.
        num_steps: N.
        limit: at least 1, which no gain at all has.
    """
    if _logarithm(manifest, num_steps, 1.0) <= math.log(limit):
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if _logarithm(manifest, num_steps, middle) <= math.log(limit):
            low = middle
        else:
            high = middle
    return low


def check_gain(manifest: Manifest, num_steps: int, gain: float, limit: float) -> None:
    """Refuse a session whose forecasts would be noise.

    Raises:
        OutOfRange: with the noise gain, the limit, and the gain that would be within it.
    """
    amplified = noise_gain(manifest, num_steps, gain)
    if amplified > limit:
        allowed = largest_gain(manifest, num_steps, limit)
        raise OutOfRange(
            f"noise of a measurement would be amplified {amplified:.4g} times over {num_steps} "
            f"steps, more than {limit:g}; a gain of {_rounded_down(allowed):g} would be within "
            "it, and so may be fewer horizon_steps or automatic_gain",
            field="options.gain",
        )


def _logarithm(manifest: Manifest, num_steps: int, gain: float) -> float:
    stepping, feedback = manifest.stepping, manifest.feedback
    assert stepping is not None
    assert feedback is not None
    slope = stepping.dt * gain * feedback.eigenvalue
    return math.fsum(
        math.log1p(slope * math.exp(-feedback.decay * layer)) for layer in range(num_steps)
    )


def _rounded_down(gain: float) -> float:
    return math.floor(gain * 1e4) / 1e4

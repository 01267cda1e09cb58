"""Extrema lie where they are said to lie."""

import mpmath
import pytest
from mpmath import mpf

from certisolve_server.certifier.functions import gelu_erf, gelu_tanh, silu
from real_functions import gelu_slope, gelu_tanh_slope, silu_slope

places = [
    (silu, silu_slope),
    (gelu_erf, gelu_slope),
    (gelu_tanh, gelu_tanh_slope),
]


@pytest.mark.parametrize(("module", "slope"), places)
def test_slopes_change_sign_at_the_minimum(module, slope):
    minimum = module._MINIMUM
    with mpmath.workdps(50):
        assert slope(mpf(minimum.lower)) < 0 < slope(mpf(minimum.upper))


@pytest.mark.parametrize(("module", "slope"), places)
def test_slopes_turn_at_the_steepest_places(module, slope):
    with mpmath.workdps(50):
        for place, sign in ((module._STEEPEST, 1), (module._MOST_NEGATIVE_SLOPE, -1)):
            assert sign * mpmath.diff(slope, mpf(place.lower)) > 0
            assert sign * mpmath.diff(slope, mpf(place.upper)) < 0


def test_places_of_the_approximate_gelu_hold_for_all_its_constants():
    with mpmath.workdps(50):
        for k in (gelu_tanh._K.lower.item(), gelu_tanh._K.upper.item()):
            for a in (gelu_tanh._A.lower.item(), gelu_tanh._A.upper.item()):
                minimum, steepest = gelu_tanh._MINIMUM, gelu_tanh._STEEPEST
                assert approximate(k, a, minimum.lower, 1) < 0 < approximate(k, a, minimum.upper, 1)
                assert (
                    approximate(k, a, steepest.upper, 2) < 0 < approximate(k, a, steepest.lower, 2)
                )


def approximate(k: float, a: float, x: float, order: int) -> mpf:
    """A derivative of x (1 + tanh(k (x + a x^3))) / 2."""
    return mpmath.diff(
        lambda t: t * (1 + mpmath.tanh(mpf(k) * (t + mpf(a) * t**3))) / 2, mpf(x), order
    )

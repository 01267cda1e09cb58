"""Extrema lie where they are said to lie."""

import mpmath
import pytest
from mpmath import mpf

from certisolve_server.certifier.functions import gelu_tanh, sigmoid
from certisolve_server.certifier.functions.gelu_erf import GeluErf
from certisolve_server.certifier.functions.gelu_tanh import GeluTanh
from certisolve_server.certifier.functions.silu import Silu
from real_functions import gelu_slope, gelu_tanh_slope, silu_slope

places = [
    (Silu, silu_slope),
    (GeluErf, gelu_slope),
    (GeluTanh, gelu_tanh_slope),
]


@pytest.mark.parametrize(("function", "slope"), places)
def test_slopes_change_sign_at_the_minimum(function, slope):
    minimum = function.minimum
    with mpmath.workdps(50):
        assert slope(mpf(minimum.lower)) < 0 < slope(mpf(minimum.upper))


@pytest.mark.parametrize(("function", "slope"), places)
def test_slopes_turn_at_the_steepest_places(function, slope):
    with mpmath.workdps(50):
        place = function.steepest
        assert mpmath.diff(slope, mpf(place.lower)) > 0 > mpmath.diff(slope, mpf(place.upper))
        for t in (place.lower, 0.3, 5.0):
            assert abs(slope(mpf(-t)) + slope(mpf(t)) - 1) < 1e-40


@pytest.mark.parametrize(
    ("place", "slope"),
    [
        (Silu.curved[2], silu_slope),
        (sigmoid._MOST_CURVED[1], lambda t: mpmath.exp(-t) / (1 + mpmath.exp(-t)) ** 2),
    ],
)
def test_second_derivatives_turn_where_they_are_least(place, slope):
    with mpmath.workdps(50):
        before, after = (mpmath.diff(slope, mpf(end), 2) for end in (place.lower, place.upper))
        assert before < 0 < after


def test_places_of_the_approximate_gelu_hold_for_all_its_constants():
    with mpmath.workdps(50):
        for k in (gelu_tanh._K.lower.item(), gelu_tanh._K.upper.item()):
            for a in (gelu_tanh._A.lower.item(), gelu_tanh._A.upper.item()):
                minimum, steepest = GeluTanh.minimum, GeluTanh.steepest
                assert approximate(k, a, minimum.lower, 1) < 0 < approximate(k, a, minimum.upper, 1)
                assert (
                    approximate(k, a, steepest.upper, 2) < 0 < approximate(k, a, steepest.lower, 2)
                )


def approximate(k: float, a: float, x: float, order: int) -> mpf:
    """A derivative of x (1 + tanh(k (x + a x^3))) / 2."""
    return mpmath.diff(
        lambda t: t * (1 + mpmath.tanh(mpf(k) * (t + mpf(a) * t**3))) / 2, mpf(x), order
    )

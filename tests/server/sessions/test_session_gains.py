"""The noise gain of a cascade, against its formula and against noise."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from certisolve.manifest import Feedback, Stepping
from certisolve_server.errors import OutOfRange
from certisolve_server.sessions.gains import check_gain, largest_gain, noise_gain
from family_models import pendulum_manifest


def manifest(eigenvalue: float, *, dt: float = 0.01, decay: float = 0.02):
    stepping, feedback = Stepping(dt=dt, max_steps=50), Feedback(decay=decay, eigenvalue=eigenvalue)
    return pendulum_manifest(stepping=stepping, feedback=feedback, t=(dt,))


def product(eigenvalue: float, num_steps: int, gain: float, dt: float = 0.01, decay: float = 0.02):
    return math.prod(1 + dt * gain * eigenvalue * math.exp(-decay * i) for i in range(num_steps))


def test_the_values_for_the_spiral() -> None:
    # Jia et al., 2024: L = 20, steps of 0.01, half a second ahead, without decay and with.
    assert noise_gain(manifest(20.0, decay=0.0), 50, 1.0) == pytest.approx(9.1e3, rel=0.01)
    assert noise_gain(manifest(20.0), 50, 1.0) == pytest.approx(396.5, rel=1e-3)


@given(eigenvalue=st.floats(0, 1e4), num_steps=st.integers(1, 200), gain=st.floats(0, 10))
def test_it_is_the_product_over_the_layers(eigenvalue, num_steps, gain) -> None:
    expected = min(product(eigenvalue, num_steps, gain), math.exp(700))
    assert noise_gain(manifest(eigenvalue), num_steps, gain) == pytest.approx(expected, rel=1e-9)


@given(eigenvalue=st.floats(0, 1e4), num_steps=st.integers(1, 200), limit=st.floats(1, 1e6))
def test_the_largest_gain_is_within_the_limit_and_a_larger_one_is_not(
    eigenvalue, num_steps, limit
) -> None:
    model = manifest(eigenvalue)
    gain = largest_gain(model, num_steps, limit)
    assert 0 <= gain <= 1
    assert noise_gain(model, num_steps, gain) <= limit * (1 + 1e-9)
    if gain < 1:
        assert noise_gain(model, num_steps, gain + 1e-6) > limit * (1 - 1e-9)


def test_a_cascade_amplifies_noise_as_much_and_no_more() -> None:
    model, num_steps, gain = manifest(20.0), 50, 0.7
    rng = np.random.default_rng(0)
    # A field of zero: what is left of two measurements is the difference of their noise.
    noise = rng.normal(size=10_000)
    states = np.zeros((num_steps + 1, noise.size))
    states[0] = noise
    for layer in range(num_steps):
        correction = gain * 20.0 * math.exp(-0.02 * layer) * (states[layer] - 0.0)
        states[layer + 1] = states[layer] + 0.01 * correction
    assert states[-1].std() / noise.std() == pytest.approx(noise_gain(model, num_steps, gain))


def test_a_gain_too_large_is_refused_with_one_that_would_do() -> None:
    model = manifest(20.0, decay=0.0)
    with pytest.raises(OutOfRange) as raised:
        check_gain(model, 50, 1.0, 1000.0)
    assert raised.value.field == "options.gain"
    assert "9100 times over 50 steps, more than 1000" in raised.value.detail
    allowed = float(raised.value.detail.split("a gain of ")[1].split()[0])
    check_gain(model, 50, allowed, 1000.0)
    with pytest.raises(OutOfRange):
        check_gain(model, 50, allowed + 2e-4, 1000.0)

"""States between the layers of a forecast."""

import numpy as np
import pytest

from certisolve_server.sessions.interpolation import between


def layers(num_steps: int, dt: float, function=np.sin) -> np.ndarray:
    t = dt * np.arange(num_steps + 1)
    return np.stack([function(t), np.cos(t)], axis=1)


def test_at_the_layers_they_are_the_layers() -> None:
    known = layers(10, 0.1).astype(np.float32)
    states = between(known, 0.1, 0.1 * np.arange(11))
    assert states.dtype == np.float32
    np.testing.assert_allclose(states, known, rtol=1e-6, atol=1e-7)


def test_parabolas_are_met_exactly() -> None:
    t = np.linspace(0, 0.9, 40)
    states = between(layers(9, 0.1, lambda t: 3 * t**2 - t + 1), 0.1, t)
    np.testing.assert_allclose(states[:, 0], 3 * t**2 - t + 1, rtol=1e-12)


def test_the_error_falls_with_the_third_power_of_the_step() -> None:
    t = np.linspace(0, 1, 201)
    errors = [
        np.abs(between(layers(n, 1 / n), 1 / n, t) - np.stack([np.sin(t), np.cos(t)], 1)).max()
        for n in (8, 16, 32, 64)
    ]
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    # Of the ends, where the slope is one-sided; inside it is better still.
    assert orders.min() > 2.7


def test_one_step_is_a_straight_line() -> None:
    states = between(np.array([[0.0], [2.0]]), 0.5, [0.125, 0.25])
    np.testing.assert_allclose(states, [[0.5], [1.0]])


@pytest.mark.parametrize("shape", [(3,), (2, 4)])
def test_states_have_any_shape(shape) -> None:
    assert between(np.zeros((6, *shape)), 0.1, [0.05, 0.5]).shape == (2, *shape)

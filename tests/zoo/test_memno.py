import math

import numpy as np
import pytest
import torch
from scipy.linalg import expm

from certisolve_zoo.operators.memno import MemNo1d, MemNoStep
from certisolve_zoo.operators.s4d import S4d


def _recurrence(network, frames):
    state, outputs = network.initial_state(frames[:, 0]), []
    for frame in frames.unbind(1):
        output, state = network.step(frame, state)
        outputs.append(output)
    return torch.stack(outputs, dim=1), state


@pytest.mark.parametrize("num_steps", [1, 2, 63, 400])
def test_the_recurrence_equals_the_convolution(num_steps):
    layer = S4d(6, 16)
    u = torch.randn(3, num_steps, 6)
    state, outputs = torch.zeros(3, 6, 2, 16), []
    for element in u.unbind(1):
        output, state = layer.step(element, state)
        outputs.append(output)
    torch.testing.assert_close(torch.stack(outputs, dim=1), layer(u), rtol=0, atol=1e-5)


def test_the_operator_serves_what_it_was_trained_to_predict():
    network = MemNo1d(1, 16, 8, (2, 2), 16)
    frames = torch.randn(2, 100, 32, 1)
    outputs, _ = _recurrence(network, frames)
    torch.testing.assert_close(outputs, network(frames), rtol=0, atol=1e-5)


def test_a_session_that_is_interrupted_continues_from_its_state():
    step = MemNoStep(MemNo1d(1, 8, 6, (1, 1), 4))
    frames = torch.randn(2, 30, 20, 1)
    whole, last = _recurrence(step.network, frames)
    _, state = _recurrence(step.network, frames[:, :11])
    snapshot = state.clone()
    for t in range(11, 30):
        output, snapshot = step(frames[:, t], snapshot)
        assert torch.equal(output, whole[:, t])
    assert torch.equal(snapshot, last)


def test_the_past_matters_and_the_future_does_not():
    network = MemNo1d(1, 8, 6, (1, 1), 4)
    frames = torch.randn(1, 20, 16, 1)
    changed = frames.clone()
    changed[:, 10] += 1
    difference = (network(changed) - network(frames)).abs().amax(dim=(0, 2, 3))
    assert difference[:10].max() < 1e-6
    assert difference[11:].min() > 1e-4


def test_memory_commutes_with_shifts_of_space():
    network = MemNo1d(1, 8, 6, (1, 1), 4).double()
    frames = torch.randn(2, 12, 20, 1, dtype=torch.float64)
    shifted = network(frames.roll(7, dims=2))
    torch.testing.assert_close(shifted, network(frames).roll(7, dims=2), rtol=0, atol=1e-12)


def test_a_step_is_the_exact_flow_under_a_constant_input():
    """The system x' = A x + u, held for Δ, by a matrix exponential."""
    layer = S4d(1, 1).double()
    decay, dt = layer.log_decay.exp().item(), layer.log_dt.exp().item()
    layer.frequency.data.fill_(3.0)
    pole = complex(-decay, 3.0)
    augmented = expm(np.array([[pole, 1.0], [0.0, 0.0]]) * dt)
    readout = complex(layer.readout_real.item(), layer.readout_imag.item())
    state, exact = torch.zeros(1, 1, 2, 1, dtype=torch.float64), 0j
    for value in (1.0, -0.5, 2.0):
        u = torch.full((1, 1), value, dtype=torch.float64)
        output, state = layer.step(u, state)
        exact = augmented[0, 0] * exact + augmented[0, 1] * value
        expected = 2 * (readout * exact).real + layer.feedthrough.item() * value
        assert math.isclose(output.item(), expected, rel_tol=1e-12)

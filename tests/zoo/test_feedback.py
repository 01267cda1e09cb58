import math

import pytest
import torch
from torch import nn

from certisolve_zoo.ode.cascade import forecast, forecast_window, noise_gain, open_loop
from certisolve_zoo.ode.feedback import FeedbackField, LinearFeedback, NeuralFeedback
from certisolve_zoo.ode.field import VectorField

DT, NUM_STEPS = 0.01, 2000
NOMINAL = torch.tensor([[-0.1, 2.0], [-2.0, -0.1]]).double()
TRUE = torch.tensor([[-0.05, 3.0], [-3.0, -0.05]]).double()
BIAS = 10.0


class Linear(nn.Module):
    """The spiral as it was learned: rows are states, x' = x A."""

    def forward(self, x):
        return x @ NOMINAL


def _spiral():
    """The spiral as it is: other coefficients and a bias, from (9, 0), solved exactly."""
    state, states = torch.tensor([9.0, 0.0, 1.0]).double(), []
    generator = torch.zeros(3, 3).double()
    generator[:2, :2], generator[2, :2] = TRUE, BIAS
    step = torch.matrix_exp(generator * DT)
    for _ in range(NUM_STEPS):
        states.append(state[:2])
        state = state @ step
    return torch.stack(states)


def _errors(gain, num_layers, decay=0.02):
    """|x_N - truth| of every tenth forecast that starts after two seconds."""
    field = FeedbackField(Linear(), LinearFeedback(gain * torch.eye(2).double()))
    windows = _spiral().unfold(0, 200 + num_layers, 10).mT
    measured, truth = windows[:, :200], windows[:, 200:]
    states = forecast_window(field, measured, num_layers, dt=DT, decay=decay)
    return (states - truth)[:, -1].norm(dim=-1)


@pytest.mark.parametrize("feedback", [LinearFeedback(20 * torch.eye(3)), NeuralFeedback(3, (8, 8))])
def test_a_measurement_that_agrees_with_the_observer_changes_nothing(feedback):
    field = VectorField(3, (8,))
    x, gain = torch.randn(5, 3), torch.full((5,), 0.7)
    # Of n(e) - n(0) the first is computed in a batch, the second alone: roundings differ.
    torch.testing.assert_close(FeedbackField(field, feedback)(x, x, gain), field(x))


@pytest.mark.parametrize("feedback", [LinearFeedback(20 * torch.eye(3)), NeuralFeedback(3, (8, 8))])
def test_a_gain_of_zero_leaves_the_learned_field(feedback):
    field = VectorField(3, (8,))
    x, observer = torch.randn(5, 3), torch.randn(5, 3)
    assert torch.equal(FeedbackField(field, feedback)(x, observer, torch.zeros(5)), field(x))


def test_linear_feedback_is_the_matrix_times_the_error():
    matrix = torch.tensor([[2.0, 1.0], [0.0, 3.0]])
    error = torch.tensor([[1.0, -1.0]])
    assert LinearFeedback(matrix)(error).tolist() == [[1.0, -3.0]]


@pytest.mark.parametrize(
    ("gain", "num_layers", "expected"),
    [(0.0, 10, 1.105), (20.0, 10, 0.124), (0.0, 50, 5.244), (20.0, 50, 0.981)],
)
def test_the_cascade_forecasts_a_disturbed_spiral(gain, num_layers, expected):
    """Against values of an independent program in NumPy."""
    assert _errors(gain, num_layers).mean().item() == pytest.approx(expected, rel=0.02)


def test_one_step_errors_stay_within_the_bound_of_the_paper():
    """The observer's error: |x - x̂| <= γ/λ with γ the largest error of the dynamics."""
    gain, truth = 20.0, _spiral()
    field = FeedbackField(Linear(), LinearFeedback(gain * torch.eye(2).double()))
    observers = open_loop(field, truth[:1], 1, dt=DT)
    errors = []
    for index in range(NUM_STEPS - 1):
        _, observers = forecast(field, truth[index : index + 1], observers, dt=DT, decay=0.0)
        errors.append((truth[index + 1] - observers[0, 0]).norm())
    disturbance = (truth[1:] - truth[:-1]) / DT - truth[:-1] @ NOMINAL
    bound = disturbance.norm(dim=1).max() / gain
    assert 0.9 * bound < torch.stack(errors).max() <= bound


def test_observers_start_from_the_open_loop():
    field = FeedbackField(VectorField(2, (8,)), LinearFeedback(20 * torch.eye(2)))
    start = torch.randn(3, 2)
    observers = open_loop(field, start, 5, dt=DT)
    states, _ = forecast(field, start, observers, dt=DT, decay=0.02)
    torch.testing.assert_close(states[:, :-1], observers[:, 1:], rtol=0, atol=0)


def test_the_cascade_amplifies_noise_by_no_more_than_its_noise_gain():
    gain, num_layers, decay = 20.0, 30, 0.02
    still = nn.Linear(2, 2)
    nn.init.zeros_(still.weight)
    nn.init.zeros_(still.bias)
    field = FeedbackField(still, LinearFeedback(gain * torch.eye(2))).double()
    noise = torch.tensor([[1e-3, 0.0]]).double()
    states, _ = forecast(field, noise, torch.zeros(1, num_layers, 2).double(), dt=DT, decay=decay)
    amplified = (states[0, -1].norm() / noise.norm()).item()
    expected = noise_gain(gain, num_layers, dt=DT, decay=decay)
    assert math.isclose(amplified, expected, rel_tol=1e-9)


def test_a_decaying_gain_amplifies_noise_less():
    assert noise_gain(20.0, 50, dt=DT, decay=0.0) == pytest.approx(1.2**50)
    assert noise_gain(20.0, 50, dt=DT, decay=0.02) < 0.05 * 1.2**50


def _one_by_one(field, measurements, num_layers, decay):
    observers = open_loop(field, measurements[:, 0], num_layers, dt=DT)
    for measurement in measurements.unbind(1):
        states, observers = forecast(field, measurement, observers, dt=DT, decay=decay)
    return states


@pytest.mark.parametrize("num_measurements", [1, 2, 6, 7, 8, 30])
@pytest.mark.parametrize("feedback", [LinearFeedback(20 * torch.eye(3)), NeuralFeedback(3, (8, 8))])
def test_waves_give_what_one_layer_after_the_other_gives(feedback, num_measurements):
    field = FeedbackField(VectorField(3, (8,)), feedback).double()
    measurements = torch.randn(4, num_measurements, 3).double()
    states = forecast_window(field, measurements, 7, dt=DT, decay=0.02)
    # Sums in another order, in float64.
    torch.testing.assert_close(
        states, _one_by_one(field, measurements, 7, 0.02), rtol=1e-12, atol=1e-12
    )


def test_waves_need_as_many_calls_as_measurements_and_layers_together():
    class Counting(VectorField):
        calls = 0

        def forward(self, x):
            self.calls += 1
            return super().forward(x)

    field = Counting(2, (8,))
    network = FeedbackField(field, LinearFeedback(torch.eye(2)))
    forecast_window(network, torch.randn(2, 30, 2), 7, dt=DT, decay=0.02)
    assert field.calls == 30 + 7 - 1


def test_a_single_measurement_is_forecast_by_the_open_loop():
    field = FeedbackField(VectorField(2, (8,)), LinearFeedback(20 * torch.eye(2)))
    start = torch.randn(3, 2)
    states = forecast_window(field, start[:, None], 5, dt=DT, decay=0.02)
    expected = open_loop(field, start, 6, dt=DT)[:, 1:]
    torch.testing.assert_close(states, expected)


@pytest.mark.parametrize("hidden", [(16,), (16, 16), (8, 8, 8)])
def test_no_slope_of_a_neural_feedback_exceeds_its_bound(hidden):
    feedback = NeuralFeedback(2, hidden)
    errors = 3 * torch.randn(2000, 2)
    slopes = torch.func.vmap(torch.func.jacrev(lambda error: feedback(error[None])[0]))(errors)
    largest = torch.linalg.matrix_norm(slopes, 2).max().item()
    product = math.prod(torch.linalg.matrix_norm(w.weight, 2).item() for w in feedback.layers)
    assert 0 < largest <= feedback.slope_bound() <= product


def test_the_slope_of_a_linear_feedback_is_its_largest_eigenvalue():
    assert LinearFeedback(torch.diag(torch.tensor([2.0, 5.0]))).slope_bound() == pytest.approx(5.0)

"""What the models with feedback say about themselves, measured again on unseen windows."""

import itertools

import numpy as np
import pytest
import torch

from certisolve_zoo.arguments import program_arguments, program_axes
from certisolve_zoo.data import Samples
from certisolve_zoo.export import export_program
from certisolve_zoo.ode.cascade import forecast, open_loop
from certisolve_zoo.ode.feedback import FeedbackField, LinearFeedback
from certisolve_zoo.pdes.projectile import nominal_throws, random_releases, solve_projectile
from certisolve_zoo.pdes.spiral import DISTURBED, NOMINAL, START, solve_spiral
from certisolve_zoo.records import WEIGHTS, load_model
from certisolve_zoo.specs import feedback_cascades as cascades
from certisolve_zoo.specs import (
    projectile_feedback,
    projectile_neural_feedback,
    spiral_feedback,
    spiral_neural_feedback,
)

NUM_WINDOWS = 256
NUM_THROWS = 64
LAST = -1
TENTH = 9  # layer of 0.1 s

ALL = [
    spiral_feedback,
    spiral_neural_feedback,
    projectile_feedback,
    projectile_neural_feedback,
]


def _network(module):
    return load_model(module.SPEC, WEIGHTS)


def _distances(network, samples):
    """Mean distance to the truth in every layer: of (x1, x2), or of the position."""
    states = slice(3) if samples.target.shape[-1] == 6 else slice(None)
    difference = cascades.predict(network, samples.inputs[0]) - samples.target
    return difference[..., states].norm(dim=-1).mean(dim=0)


def _spiral_windows(**options):
    return spiral_feedback.windows(spiral_feedback.UNSEEN_SEED, NUM_WINDOWS, **options)


def _throws(**options):
    return projectile_feedback.windows(projectile_feedback.UNSEEN_SEED, NUM_THROWS, **options)


def _latest(samples):
    """The same forecasts, from the last measurement alone: the open loop."""
    return Samples((samples.inputs[0][:, -1:],), samples.target)


def _published(value):
    # Two digits are published, and processors round a little differently.
    return pytest.approx(value, rel=0.02)


def _published_of_throws(value):
    # The first 64 of the 256 windows that were measured: their mean scatters by some 10 %.
    return pytest.approx(value, rel=0.15)


def test_feedback_forecasts_a_spiral_that_was_not_learned():
    network, samples = _network(spiral_feedback), _spiral_windows()
    error, without = _distances(network, samples), _distances(network, _latest(samples))
    assert error[LAST] <= 1.0
    assert error[LAST].item() == _published(spiral_feedback.ERROR)
    assert without[LAST].item() == _published(spiral_feedback.OPEN_LOOP_ERROR)
    assert error[TENTH] < without[TENTH] / 8


def test_one_step_errors_stay_within_the_bound_of_the_paper():
    """|x - x̂| <= γ/λ, with γ the largest error of the learned field along the trajectory."""
    network = _network(spiral_feedback)
    states = solve_spiral(DISTURBED, np.array([START]), cascades.DT * np.arange(1000))[0]
    truth = torch.from_numpy(states).float()
    observers, errors = truth[:1, None], []
    for now, after in itertools.pairwise(truth):
        step = forecast(network, now[None], observers, dt=cascades.DT, decay=cascades.DECAY)
        observers = step.observers
        errors.append((after - observers[0, 0]).norm())
    disturbance = (truth[1:] - truth[:-1]) / cascades.DT - network.field(truth[:-1])
    bound = disturbance.norm(dim=1).max() / spiral_feedback.GAIN
    assert 0.9 * bound < torch.stack(errors).max() <= bound


def test_feedback_leaves_the_nominal_spiral_as_good_as_it_was():
    network = _network(spiral_feedback)
    y0 = np.random.default_rng(0).uniform(-9, 9, (64, 2))
    states = solve_spiral(NOMINAL, y0, cascades.DT * np.arange(250))
    samples = cascades.window(np.random.default_rng(0), states, 0.0)
    # Of states around 7; on the disturbed spiral the open loop is off by 5.
    assert _distances(network, samples)[LAST] < 1.2 * spiral_feedback.NOMINAL_ERROR
    assert _distances(network, _latest(samples))[LAST] < spiral_feedback.NOMINAL_ERROR


def test_linear_feedback_amplifies_noise_as_it_says():
    network = _network(spiral_feedback)
    error = _distances(network, _spiral_windows(noise=spiral_feedback.NOISE))[LAST].item()
    # Noise drawn elsewhere in another order: 256 windows know this mean to some 5 %.
    assert error == pytest.approx(spiral_feedback.ERROR_WITH_NOISE, rel=0.1)
    assert pytest.approx(396, abs=1) == spiral_feedback.NOISE_GAIN


def test_linear_feedback_is_unsettled_after_two_measurements():
    network = _network(spiral_feedback)
    error = _distances(network, _spiral_windows(num_measurements=2))[LAST].item()
    assert error == _published(spiral_feedback.UNSETTLED_ERROR)
    settled = _distances(network, _spiral_windows(num_measurements=50))[LAST]
    assert settled <= 1.0


def test_a_learned_feedback_bears_noise():
    network, noisy = _network(spiral_neural_feedback), _spiral_windows(noise=spiral_feedback.NOISE)
    error = _distances(network, noisy)[LAST].item()
    assert error == _published(spiral_neural_feedback.ERROR_WITH_NOISE)
    exact = _distances(network, _spiral_windows())[LAST].item()
    assert exact == _published(spiral_neural_feedback.ERROR)
    unsettled = _distances(network, _spiral_windows(num_measurements=10))[LAST].item()
    assert unsettled == _published(spiral_neural_feedback.UNSETTLED_ERROR)
    linear = FeedbackField(network.field, LinearFeedback(12.0 * torch.eye(2)))
    best_linear = _distances(linear, noisy)[LAST].item()
    assert best_linear == _published(spiral_neural_feedback.LINEAR_ERROR_WITH_NOISE)


def test_a_learned_feedback_beats_linear_ones_on_the_spirals_of_its_training():
    network = _network(spiral_neural_feedback)
    rng = np.random.default_rng(77)
    drawn = [spiral_neural_feedback.draw(rng) for _ in range(10)]
    samples = Samples(
        (torch.cat([each.inputs[0] for each in drawn]),), torch.cat([each.target for each in drawn])
    )
    error = _distances(network, samples)[LAST].item()
    assert error == _published(spiral_neural_feedback.ERROR_ON_TRAINING_SPIRALS)
    linear = [
        _distances(FeedbackField(network.field, LinearFeedback(gain * torch.eye(2))), samples)[LAST]
        for gain in (8.0, 10.0, 12.0, 14.0)
    ]
    best = spiral_neural_feedback.LINEAR_ERROR_ON_TRAINING_SPIRALS
    assert min(linear).item() == _published(best)


@pytest.mark.parametrize("module", [spiral_neural_feedback, projectile_neural_feedback])
def test_the_manifest_bounds_the_slope_of_a_learned_feedback(module):
    network = _network(module)
    num_states = module.SPEC.axes["state"].size
    errors = 2 * torch.randn(5000, num_states)
    slope = torch.func.jacrev(lambda error: network.feedback(error[None])[0])
    largest = torch.linalg.matrix_norm(torch.func.vmap(slope)(errors), 2).max().item()
    # The largest of 5000 draws, which another generator would draw elsewhere.
    assert largest == pytest.approx(module.LARGEST_SLOPE, rel=0.05)
    assert largest <= cascades.feedback(network).eigenvalue


def test_feedback_forecasts_a_throw_with_spin_and_wind():
    network, samples = _network(projectile_feedback), _throws()
    error = _distances(network, samples)[LAST].item()
    assert error == _published_of_throws(projectile_feedback.ERROR)
    without = _distances(network, _latest(samples))[LAST].item()
    assert without == _published_of_throws(projectile_feedback.OPEN_LOOP_ERROR)
    exact = _distances(network, _throws(noise=0.0))[LAST].item()
    assert exact == _published_of_throws(projectile_feedback.ERROR_WITHOUT_NOISE)


def _nominal_throws(noise):
    rng = np.random.default_rng(3)
    num_snapshots = projectile_feedback.WINDOW + cascades.NUM_LAYERS
    states = solve_projectile(
        nominal_throws(NUM_THROWS),
        random_releases(rng, NUM_THROWS),
        num_snapshots=num_snapshots,
        interval=cascades.DT,
    )
    return cascades.window(rng, states, noise)


def test_feedback_leaves_nominal_throws_as_good_as_they_were():
    network, samples = _network(projectile_feedback), _nominal_throws(0.0)
    for seen in (samples, _latest(samples)):
        error = _distances(network, seen)[LAST].item()
        assert error == pytest.approx(projectile_feedback.NOMINAL_ERROR, abs=2e-3)


def test_a_feedback_learned_on_throws_forecasts_them_better():
    network, samples = _network(projectile_neural_feedback), _throws()
    error = _distances(network, samples)[LAST].item()
    assert error == _published_of_throws(projectile_neural_feedback.ERROR)
    velocity, linear = (
        (cascades.predict(each, samples.inputs[0]) - samples.target)[:, LAST, 3:].norm(dim=-1)
        for each in (network, _network(projectile_feedback))
    )
    assert velocity.mean().item() == _published_of_throws(projectile_neural_feedback.VELOCITY_ERROR)
    assert linear.mean().item() == _published_of_throws(
        projectile_neural_feedback.LINEAR_VELOCITY_ERROR
    )
    exact = _distances(network, _throws(noise=0.0))[LAST].item()
    assert exact == _published_of_throws(projectile_neural_feedback.ERROR_WITHOUT_NOISE)


def test_no_linear_gain_is_as_good_at_positions_and_at_velocities():
    network, samples = _network(projectile_neural_feedback), _throws()
    samples = samples[:32]

    def errors(each):
        difference = (cascades.predict(each, samples.inputs[0]) - samples.target)[:, LAST]
        return torch.stack([part.norm(dim=-1).mean() for part in difference.split(3, dim=-1)])

    learned = errors(network)
    for gain in (5.0, 6.0, 7.0, 8.0, 9.0, 10.0):
        linear = FeedbackField(network.field, LinearFeedback(gain * torch.eye(6)))
        assert (errors(linear) > 1.02 * learned).any()


def test_a_learned_feedback_has_its_price_on_nominal_throws():
    noisy = _nominal_throws(projectile_feedback.NOISE)
    learned = _distances(_network(projectile_neural_feedback), noisy)[LAST].item()
    linear = _distances(_network(projectile_feedback), noisy)[LAST].item()
    assert learned == _published_of_throws(projectile_neural_feedback.NOMINAL_ERROR)
    assert linear == _published_of_throws(projectile_neural_feedback.LINEAR_NOMINAL_ERROR)


@pytest.mark.parametrize("module", ALL, ids=lambda module: module.SPEC.name)
def test_the_vector_field_is_exported_for_any_batch(module):
    network, spec = _network(module), module.SPEC
    arguments = program_arguments(spec, spec.examples(3)[0])
    program = export_program(network, spec, arguments, program_axes(spec)).module()
    for batch_size in (1, 2, 7, cascades.MAX_BATCH_SIZE):
        x, observer = torch.randn(2, batch_size, spec.axes["state"].size)
        gain = torch.rand(batch_size)
        # A few roundings of derivatives around 10.
        torch.testing.assert_close(
            program(x, observer, gain), network(x, observer, gain), rtol=1e-5, atol=1e-5
        )


@pytest.mark.parametrize("module", ALL, ids=lambda module: module.SPEC.name)
def test_a_longer_set_of_windows_begins_with_the_shorter(module, tmp_path):
    (few,), (many,) = (module.SPEC.unseen(number, tmp_path) for number in (5, 60))
    assert torch.equal(few.inputs[0], many.inputs[0][:5])
    assert torch.equal(few.target, many.target[:5])
    assert len(many) == 60


@pytest.mark.parametrize("module", ALL, ids=lambda module: module.SPEC.name)
def test_answers_are_those_of_layers_one_after_the_other(module):
    network = _network(module)
    measured = module.SPEC.examples(2)[0][0][:, -60:]
    observers = open_loop(network, measured[:, 0], cascades.NUM_LAYERS, dt=cascades.DT)
    for measurement in measured.unbind(1):
        step = forecast(network, measurement, observers, dt=cascades.DT, decay=cascades.DECAY)
        observers = step.observers
    # Roundings of float32, amplified by the cascade some hundred times.
    torch.testing.assert_close(
        cascades.predict(network, measured), step.states, rtol=1e-3, atol=1e-3
    )

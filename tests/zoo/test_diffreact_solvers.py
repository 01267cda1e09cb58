import numpy as np
import pytest

from certisolve_zoo.pdes.diffusion_reaction import solve_diffusion_reaction
from certisolve_zoo.specs.diffreact_data import random_sources, samples_at_random_points
from certisolve_zoo.specs.diffreact_solvers import bilinear, solve_at_points, solve_levels


def test_the_lean_steps_agree_with_newtons_method():
    source = random_sources(5, 8, 51)
    solved = solve_diffusion_reaction(
        np.zeros_like(source), source, num_snapshots=20, interval=0.05, dt=0.05
    )
    levels = solve_levels(source, 20)
    assert (levels[0] == 0).all()
    # k u dt = 1e-3 in the reaction, of the next order in time.
    np.testing.assert_allclose(levels[1:].swapaxes(0, 1), solved, atol=3e-5)


def test_between_nodes_and_steps_bilinear_functions_are_met():
    rng = np.random.default_rng(0)
    x, t = rng.random((2, 3, 50))
    x[0, :2], t[0, :2] = (0.0, 1.0), (1.0, 0.0)
    level, node = np.linspace(0, 1, 5)[:, None], np.linspace(0, 1, 9)
    factor = np.array([1.0, 2.0, -3.0])
    levels = ((1 + level) * (2 - node))[:, None] * factor[:, None]
    expected = factor[:, None] * (1 + t) * (2 - x)
    np.testing.assert_allclose(bilinear(levels, x, t), expected, atol=1e-12)


def _error(num_nodes, num_steps, samples):
    inputs = (tensor.numpy() for tensor in samples.inputs)
    solved = solve_at_points(*inputs, num_nodes=num_nodes, num_steps=num_steps)
    target = samples.target.numpy()
    return (np.linalg.norm(solved - target, axis=1) / np.linalg.norm(target, axis=1)).mean()


def test_finer_settings_approach_the_reference():
    samples = samples_at_random_points(5, 20, 500)
    errors = [_error(*setting, samples) for setting in ((26, 10), (51, 20), (101, 50), (201, 100))]
    assert errors == sorted(errors, reverse=True)
    # Differences on 201 nodes are right to 6e-5.
    assert errors[-1] < 1.5e-4


def test_a_longer_set_of_samples_begins_with_the_shorter_one():
    longer, shorter = samples_at_random_points(6, 5, 20), samples_at_random_points(6, 3, 20)
    for some, all_of_them in zip(shorter.inputs, longer.inputs, strict=True):
        np.testing.assert_array_equal(some, all_of_them[:3])
    np.testing.assert_allclose(shorter.target, longer.target[:3], atol=1e-6)


@pytest.mark.parametrize("num_nodes", [51, 201])
def test_samples_do_not_depend_on_their_batch(num_nodes):
    samples = samples_at_random_points(7, 40, 10)
    inputs = [tensor.numpy() for tensor in samples.inputs]
    together = solve_at_points(*inputs, num_nodes=num_nodes, num_steps=10)
    alone = solve_at_points(*(each[37:38] for each in inputs), num_nodes=num_nodes, num_steps=10)
    np.testing.assert_allclose(together[37:38], alone, atol=1e-12)

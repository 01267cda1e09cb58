"""What `vanderpol-node` says about itself, measured again."""

import numpy as np
import pytest
import torch

from certisolve_zoo.arguments import program_arguments, program_axes
from certisolve_zoo.ode.field import VectorField
from certisolve_zoo.pdes.vanderpol import slopes
from certisolve_zoo.records import WEIGHTS, Record, load_model
from certisolve_zoo.specs import vanderpol_node as node


@pytest.fixture(scope="module")
def network():
    return load_model(node.SPEC, WEIGHTS)


def grid(half_width_of_y):
    x, y = np.meshgrid(np.linspace(-2.5, 2.5, 41), np.linspace(-1, 1, 41) * half_width_of_y)
    return np.stack([x.ravel(), y.ravel()], axis=-1)


@pytest.mark.parametrize("mu", [0.5, 1.0, 7.0, 50.0])
def test_the_field_is_learned_wherever_states_come(network, mu):
    states = torch.from_numpy(grid(5.5)).float()
    times, damping = torch.zeros(len(states)), torch.full((len(states),), mu)
    learned = network(states, times, damping).double().numpy()
    scale = np.array([mu, 1 / mu])
    assert np.abs((learned - slopes(grid(5.5), mu)) / scale).max() < 2e-3


def test_the_field_knows_no_time(network):
    states, damping = torch.from_numpy(grid(2.0)).float(), torch.full((41 * 41,), 5.0)
    now, later = (network(states, torch.full((41 * 41,), t), damping) for t in (0.0, 7.0))
    assert torch.equal(now, later)


@pytest.mark.parametrize("batch_size", [2, 3, 8, 31, 64])
def test_a_row_has_the_same_bits_alone_and_in_every_batch(network, batch_size):
    [(y, mu)] = node.examples(64)
    t = torch.zeros(64)
    alone = torch.cat([network(y[i : i + 1], t[:1], mu[i : i + 1]) for i in range(64)])
    for rows in torch.arange(64).split(batch_size):
        assert torch.equal(network(y[rows], t[rows], mu[rows]), alone[rows])


def test_products_by_row_are_those_of_matrices(network):
    [(y, _)] = node.examples(64)
    matrices = VectorField(2, (64, 64))
    matrices.load_state_dict(network.field.state_dict())
    torch.testing.assert_close(network.field(y), matrices(y), rtol=1e-5, atol=1e-5)


def test_the_program_takes_the_state_the_time_and_the_damping():
    [inputs] = node.examples(3)
    y, t, mu = program_arguments(node.SPEC, inputs)
    assert (y.shape, t.shape, mu.shape) == ((3, 2), (3,), (3,))
    assert program_axes(node.SPEC) == (("state",), (), ())
    assert node.SPEC.input_names == ("y", "mu")


def test_requests_span_the_range_of_the_manifest_and_begin_with_the_shorter_set():
    y0, mu = node.examples(256)[0]
    [damping] = node.SPEC.parameters
    assert damping.minimum <= mu.min() < 0.6
    assert 40 < mu.max() <= damping.maximum
    assert (y0.abs() <= node.HALF_WIDTH).all()
    assert torch.equal(node.examples(8)[0][1], mu[:8])


def test_the_error_grows_with_time_and_the_worst_is_that_of_a_jump():
    [measured] = Record.load(WEIGHTS, "vanderpol-node").resolutions
    first, *_, last = measured.error_at_t
    assert first < last < 1e-3
    assert measured.worst_error > 5 * measured.error

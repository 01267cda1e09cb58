import numpy as np
import pytest
import torch

from certisolve_zoo.pdes.diffusion_reaction import solve_diffusion_reaction
from certisolve_zoo.specs.diffreact_network import WallBoundedMultiOnet, wall_profile

DIFFUSIVITY = 0.01


@pytest.fixture
def network():
    return WallBoundedMultiOnet(21, DIFFUSIVITY, width=8, num_layers=3).double()


def test_walls_and_start_are_zero_whatever_the_weights(network):
    source, t = torch.randn(2, 21).double(), torch.linspace(0, 1, 11).double().expand(2, -1)
    zero, one = torch.zeros_like(t), torch.ones_like(t)
    assert network(source, zero, t).abs().max() == 0
    assert network(source, one, t).abs().max() == 0
    assert network(source, t, zero).abs().max() == 0
    assert network(source, torch.full_like(t, 0.3), t)[:, 1:].abs().min() > 0


def test_single_precision_keeps_the_walls():
    network = WallBoundedMultiOnet(21, DIFFUSIVITY, width=8, num_layers=3)
    t = torch.linspace(0, 1, 101).expand(2, -1)
    for wall in (torch.zeros_like(t), torch.ones_like(t)):
        assert network(torch.randn(2, 21), wall, t).abs().max() == 0


def test_shared_points_give_what_the_points_of_each_sample_give(network):
    source, (x, t) = torch.randn(4, 21).double(), torch.rand(2, 30).double()
    each = network(source, x.expand(4, -1), t.expand(4, -1))
    torch.testing.assert_close(network.at_shared_points(source, x, t), each, rtol=0, atol=1e-12)


def test_the_profile_is_what_a_constant_source_leaves_at_a_wall():
    # At t = 0.2 the layer of thickness 0.09 does not feel the other wall.
    num_nodes, t = 801, 0.2
    x = np.linspace(0.0, 1.0, num_nodes)
    solved = solve_diffusion_reaction(
        np.zeros((1, num_nodes)),
        np.ones((1, num_nodes)),
        diffusivity=DIFFUSIVITY,
        rate=0.0,
        num_snapshots=1,
        interval=t,
        dt=0.001,
    )[0, 0]
    near = x < 0.5
    profile = wall_profile(torch.from_numpy(x[near] / np.sqrt(4 * DIFFUSIVITY * t)))
    # Errors of the differences, of second order: h²/Dt = 8e-4 of t.
    np.testing.assert_allclose(solved[near], t * profile.numpy(), atol=2e-4 * t)


def test_the_profile_has_finite_slopes_at_wall_and_start(network):
    x, t = (torch.zeros(1, 3).double().requires_grad_() for _ in range(2))
    field = network(torch.randn(1, 21).double(), x, t)
    for slope in torch.autograd.grad(field.sum(), (x, t)):
        assert slope.isfinite().all()


def test_no_source_is_lost_in_the_cosine_transform(network):
    assert torch.linalg.cond(network.cosines) < 3

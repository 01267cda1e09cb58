"""Numbers that arithmetic is bad at: bounds hold, and are not above what they have to be."""

import pytest
import torch
from torch import nn

from all_bounds import all_bounds, assert_sound, lower_bound
from certisolve_server.certifier.norms import Norms
from certisolve_server.certifier.prepare import prepare
from certisolve_server.certifier.problem import Problem
from certisolve_server.certifier.region import Ball, Box, Everything
from random_networks import Lambda
from small_networks import exported, perceptron

L2 = Norms("l2", "l2")


def problem(net, count=2, radius=0.5, center=0.3, norms=L2):
    graph = prepare(exported(net, (1, count)), {"x": (1, count)})
    at = {"x": torch.full((1, count), center, dtype=torch.float64)}
    return Problem(graph, Everything() if radius is None else Ball(at, radius, "linf"), norms)


def filled(net, number):
    """All weights one number."""
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.fill_(number)
    return net


def larger_and_smaller(x):
    """Of pairs (MaxMin)."""
    a, b = x.chunk(2, 1)
    return torch.cat([torch.maximum(a, b), torch.minimum(a, b)], 1)


def held(asked, slices=3):
    """Bounds that no proven witness exceeds; sampled pairs would measure cancellation instead."""
    bounds, attained = all_bounds(asked, slices), lower_bound(asked, 4)
    for method, upper in bounds.items():
        assert attained <= upper, method
    return bounds


@pytest.mark.parametrize("radius", [0.5, None])
def test_large_numbers_that_cancel(radius):
    """(1e16 (x + y) + x) - 1e16 (x + y): of float arithmetic nothing is left of x."""
    net = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 1, bias=False))
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[1e16, 1e16], [1e16, 1e16]]))
        net[2].weight.copy_(torch.tensor([[1.0, -1.0]]))
    bounds = held(problem(net, radius=radius))
    assert bounds
    # Where both neurons are known to be active the difference is 0 exactly, and 0 is proven.
    assert min(bounds.values()) >= 0.0


def test_a_bias_that_swallows_the_input():
    net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    with torch.no_grad():
        net[0].bias.fill_(1e20)
    bounds = held(problem(net))
    exact = float((net[2].weight.double() @ net[0].weight.double()).norm().detach())
    assert all(upper >= exact * (1 - 1e-12) for upper in bounds.values())


@pytest.mark.parametrize("number", [1e-20, 1e-38, 1e-44])
def test_weights_whose_products_underflow(number):
    net = filled(nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 3), nn.Tanh()), number)
    net.append(filled(nn.Linear(3, 1), 1.0))
    bounds = held(problem(net))
    assert bounds
    assert all(0.0 <= upper < 1.0 for upper in bounds.values())


@pytest.mark.parametrize("number", [1e12, 1e30])
def test_weights_whose_products_are_huge(number):
    net = filled(nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2)), number)
    held(problem(net))
    held(problem(net, radius=None))


@pytest.mark.slow
def test_eighteen_layers_that_fold():
    """Layers of norm 1 with scales of 1000 that cancel from each to the next."""
    torch.manual_seed(0)
    layers = []
    for i in range(18):
        layer = nn.Linear(4, 4, bias=False)
        with torch.no_grad():
            orthogonal = torch.linalg.qr(torch.randn(4, 4))[0]
            layer.weight.copy_(orthogonal * (1000.0 if i % 2 else 0.001))
        layers += [layer, Lambda(larger_and_smaller)]
    net = nn.Sequential(*layers)
    bounds = held(problem(net, 4))
    assert lower_bound(problem(net, 4), 4) == pytest.approx(1.0, rel=1e-3)
    assert all(upper >= 1.0 - 1e-5 for upper in bounds.values())


def test_eighteen_layers_of_rectifiers():
    assert_sound(problem(perceptron(nn.ReLU(), 2, *[4] * 18, 1, seed=5)), slices=3)


@pytest.mark.parametrize("activation", [nn.Tanh(), nn.Sigmoid(), nn.GELU(), nn.SiLU()])
@pytest.mark.parametrize("center", [30.0, 4e3, -4e3])
def test_saturated_activations(activation, center):
    net = nn.Sequential(Lambda(lambda x: 5.0 * x), activation, nn.Linear(2, 1))
    bounds = held(problem(net, radius=0.5, center=center))
    assert bounds
    assert all(upper < 1e4 for upper in bounds.values())


@pytest.mark.parametrize("radius", [0.0, 1e-9, 0.5])
def test_arguments_that_are_zero_exactly(radius):
    """At kinks, on all of the set or in its middle, and twice."""
    net = perceptron(nn.ReLU(), 2, 5, 2, seed=2)
    with torch.no_grad():
        net[0].weight[0], net[0].bias[0] = 0.0, 0.0
        net[0].weight[1], net[0].bias[1] = torch.tensor([1.0, -1.0]), 0.0
        net[0].weight[2], net[0].bias[2] = net[0].weight[1], 0.0
    assert_sound(problem(net, radius=radius, center=0.25))


def test_rows_twice_and_rows_of_zeros():
    net = perceptron(nn.ReLU(), 2, 6, 6, 2, seed=7)
    with torch.no_grad():
        net[0].weight[3:], net[0].bias[3:] = net[0].weight[:3], net[0].bias[:3]
        net[2].weight[4:] = 0.0
    assert_sound(problem(net))
    assert_sound(problem(net, radius=None))


@pytest.mark.parametrize("activation", [nn.ReLU(), nn.GELU()])
def test_sets_without_width(activation):
    net = perceptron(activation, 2, 6, 2, seed=8)
    graph = prepare(exported(net, (1, 2)), {"x": (1, 2)})
    point = {"x": torch.tensor([[0.3, -0.2]], dtype=torch.float64)}
    wider = {"x": torch.tensor([[0.3, 0.9]], dtype=torch.float64)}
    neighbour = {"x": torch.nextafter(point["x"], torch.tensor(9.0, dtype=torch.float64))}
    for region in (
        Box(point, point),
        Box(point, wider),
        Box(point, neighbour),
        Ball(point, 0.0, "l1"),
        Ball(point, 0.5, "l2", Box(point, wider)),
        Ball(point, 5e-324, "linf"),
    ):
        assert_sound(Problem(graph, region, L2), slices=3)


def test_inputs_far_from_zero():
    assert_sound(problem(perceptron(nn.Tanh(), 2, 6, 2, seed=9), radius=1.0, center=1e6))
    held(problem(perceptron(nn.ReLU(), 2, 6, 2, seed=9), radius=1.0, center=1e15))

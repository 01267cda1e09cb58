"""What made bounds elsewhere wrong, each by its name: none of our methods falls for it."""

import itertools

import pytest
import torch
from torch import nn

from all_bounds import all_bounds, assert_sound, lower_bound
from certisolve_server.certifier.arithmetic import Interval, spectral_norm
from certisolve_server.certifier.chains import (
    Chain,
    Slopes,
    UnverifiedMultipliers,
    verified_bound,
)
from certisolve_server.certifier.errors import CertifierError, UnsupportedOperator
from certisolve_server.certifier.norms import Norms
from certisolve_server.certifier.prepare import prepare
from certisolve_server.certifier.problem import Problem
from certisolve_server.certifier.region import Ball, Everything
from random_networks import Lambda
from small_networks import exported, perceptron

L2 = Norms("l2", "l2")


def problem(net, shape, radius=None, norms=L2):
    graph = prepare(exported(net, shape), {"x": shape})
    center = {"x": torch.full(shape, 0.2, dtype=torch.float64)}
    return Problem(graph, Everything() if radius is None else Ball(center, radius, "linf"), norms)


def each_at_least(constant, asked, slices=4):
    bounds = all_bounds(asked, slices)
    assert bounds
    for method, upper in bounds.items():
        assert upper >= constant * (1 - 1e-9), method


def test_a_flattened_image_keeps_its_channels_in_the_order_of_the_next_layer():
    """A bound of channels put last is one of a scrambled network."""
    torch.manual_seed(0)
    conv = nn.Conv2d(1, 3, 2)
    dense = nn.Linear(12, 1, bias=False)
    with torch.no_grad():
        conv.weight.zero_()
        conv.bias.fill_(1.0)
        # Only the first channel is large, and only the first four columns read it.
        conv.weight[0, 0] = 5.0
        dense.weight.zero_()
        dense.weight[0, :4] = 1.0
    net = nn.Sequential(conv, nn.ReLU(), nn.Flatten(1), dense)
    jacobian = torch.autograd.functional.jacobian(net, torch.ones(1, 1, 3, 3)).flatten()
    exact = float(jacobian.double().norm())
    asked = problem(net, (1, 1, 3, 3), 0.3)
    each_at_least(exact, asked)
    assert lower_bound(asked) == pytest.approx(exact, rel=1e-5)
    assert min(all_bounds(asked).values()) <= exact * 1.01


def test_weights_are_not_transposed():
    """Of a square layer a transposed matrix fits as well, and has another norm from l1 to linf."""
    net = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3))
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[3.0, 3.0, 3.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]))
        net[0].bias.fill_(10.0)
        net[2].weight.copy_(torch.tensor([[1.0, 0.0, 0.0], [2.0, 0.0, 0.0], [4.0, 0.0, 0.0]]))
    product = (net[2].weight @ net[0].weight).detach().double()
    for p, q, order in (("linf", "linf", float("inf")), ("l1", "l1", 1), ("l2", "l2", 2)):
        exact = float(torch.linalg.matrix_norm(product, order))
        asked = problem(net, (1, 3), 0.3, Norms(p, q))
        each_at_least(exact, asked)
        assert min(all_bounds(asked).values()) <= exact * (1 + 1e-6)


def test_a_greedy_choice_of_neurons_is_no_bound():
    """A net of constant 4 of which greedy searches find less: 2 |2 x|, as differences of steps."""
    net = nn.Sequential(
        nn.Linear(1, 2, bias=False), nn.ReLU(), nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1)
    )
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[2.0], [-2.0]]))
        net[2].weight.copy_(torch.tensor([[1.0, 1.0], [1.0, 1.0]]))
        net[2].bias.zero_()
        net[4].weight.copy_(torch.tensor([[1.0, 1.0]]))
        net[4].bias.zero_()
    for radius in (None, 1.0):
        each_at_least(4.0, problem(net, (1, 1), radius))


def test_multipliers_that_couple_neurons_are_not_taken():
    """Only diagonal multipliers are: their number is that of neurons, and each is above 0."""
    chain = Chain(
        (Interval.exact(torch.eye(2).double()), Interval.exact(torch.eye(2).double())),
        (Slopes(torch.zeros(2).double(), torch.ones(2).double()),),
    )
    coupled = torch.tensor([[1.0, 0.5], [0.5, 1.0]], dtype=torch.float64)
    with pytest.raises(CertifierError):
        verified_bound(chain, [coupled])
    with pytest.raises(CertifierError):
        verified_bound(chain, [torch.tensor([1.0, -1e-12], dtype=torch.float64)])


@pytest.mark.parametrize(
    ("activation", "steepest"),
    [(nn.SiLU(), 1.0998393194), (nn.GELU(), 1.1289041451), (nn.GELU("tanh"), 1.1289)],
)
def test_activations_are_not_taken_for_rectifiers(activation, steepest):
    """Slopes of these go beyond 1 and below 0."""
    net = nn.Sequential(nn.Linear(1, 1), activation, nn.Linear(1, 1))
    with torch.no_grad():
        for layer in (net[0], net[2]):
            layer.weight.fill_(1.0)
            layer.bias.zero_()
    each_at_least(steepest, problem(net, (1, 1)))
    each_at_least(steepest, problem(net, (1, 1), 4.0))


def test_an_unknown_activation_is_refused():
    with pytest.raises(UnsupportedOperator, match="erfinv"):
        prepare(exported(Lambda(torch.erfinv), (1, 2)), {"x": (1, 2)})


@pytest.mark.parametrize("share", [1e-7, 1e-5, 1e-3])
def test_a_solver_s_tolerance_is_no_proof(share):
    """Multipliers that violate the inequality by a solver's tolerance give no bound below it."""
    weight = torch.diag(torch.tensor([2.0, 1.0], dtype=torch.float64))
    slopes = Slopes(torch.zeros(2).double(), torch.ones(2).double())
    chain = Chain((Interval.exact(weight), Interval.exact(torch.eye(2).double())), (slopes,))
    # Of |s(W x)| the constant is 2: any claim below needs an inequality that does not hold.
    for scale in (1.0, 1.0 + share, 0.5, 0.5 - share, 0.5 + share):
        multipliers = [torch.full((2,), scale, dtype=torch.float64)]
        try:
            assert verified_bound(chain, multipliers) >= 2.0
        except UnverifiedMultipliers:
            continue


def test_tiny_constants_are_not_below_what_is_attained():
    """Of deep nets with small weights absolute tolerances exceed the bound."""
    net = perceptron(nn.ReLU(), 3, *[6] * 16, 1, seed=3, gain=0.35)
    asked = problem(net, (1, 3))
    bounds = all_bounds(asked, 3)
    attained = lower_bound(asked, 5)
    assert bounds
    assert max(bounds.values()) < 1e-3
    for method, upper in bounds.items():
        assert attained <= upper, method


def test_a_power_iteration_is_no_upper_bound():
    """From a start that has nothing of the first singular vector it ends at the second one."""
    generator = torch.Generator().manual_seed(0)
    for size, gap in itertools.product((2, 5, 20), (1e-12, 1e-6, 0.5)):
        base = torch.randn(size, size, generator=generator, dtype=torch.float64)
        left, _, right = torch.linalg.svd(base)
        values = torch.linspace(1.0, 0.1, size, dtype=torch.float64)
        values[1] = 1.0 - gap
        matrix = left @ torch.diag(values) @ right
        assert float(spectral_norm(matrix)) >= float(torch.linalg.matrix_norm(matrix, 2)) * (
            1 - 1e-15
        )
    ones = torch.tensor([[1.0, -1.0], [0.0, 0.0]], dtype=torch.float64)
    assert float(spectral_norm(ones)) >= 2.0**0.5


#: What others cannot read, or read wrongly.
LAYERS = {
    "leaky": (nn.Sequential(nn.Linear(4, 4), nn.LeakyReLU(0.3), nn.Linear(4, 2)), (1, 4)),
    "softplus": (nn.Sequential(nn.Linear(4, 4), nn.Softplus(), nn.Linear(4, 2)), (1, 4)),
    "elu": (nn.Sequential(nn.Linear(4, 4), nn.ELU(), nn.Linear(4, 2)), (1, 4)),
    "sine": (nn.Sequential(nn.Linear(4, 4), Lambda(torch.sin), nn.Linear(4, 2)), (1, 4)),
    "batch norm": (nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Tanh()), (1, 4)),
    "layer norm": (nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.Tanh()), (1, 4)),
    "conv1d": (nn.Sequential(nn.Conv1d(1, 2, 3, padding=1), nn.ReLU(), nn.Flatten(1)), (1, 1, 5)),
    "average": (nn.Sequential(nn.AvgPool2d(2), nn.Tanh(), nn.Flatten(1)), (1, 1, 4, 4)),
    "max pool": (nn.Sequential(nn.MaxPool1d(2), nn.Tanh(), nn.Flatten(1)), (1, 1, 6)),
    "softmax": (nn.Sequential(nn.Linear(4, 3), nn.Softmax(1)), (1, 4)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers_are_bounded_rightly(name):
    torch.manual_seed(1)
    net, shape = LAYERS[name]
    for module in net.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.running_mean.uniform_(-1.0, 1.0)
            module.running_var.uniform_(0.1, 2.0)
    assert assert_sound(problem(net, shape, 0.3), slices=3)

"""Values and derivatives that are sampled lie in their ranges, whatever the network and the set."""

from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from certisolve_server.certifier.arithmetic import Interval
from certisolve_server.certifier.errors import NotCertified, UnsupportedOperator
from certisolve_server.certifier.linear.cells import Clip
from certisolve_server.certifier.linear.enclosure import enclose, unclipped
from certisolve_server.certifier.linear.inputs import inputs_of
from certisolve_server.certifier.linear.reading import read
from certisolve_server.certifier.norms import Norms
from certisolve_server.certifier.prepare import prepare
from certisolve_server.certifier.problem import Problem
from certisolve_server.certifier.region import Ball, Box
from small_networks import Applied, exported, in_float64, perceptron

ACTIVATIONS = {
    "relu": nn.ReLU(),
    "leaky": nn.LeakyReLU(0.2),
    "tanh": nn.Tanh(),
    "silu": nn.SiLU(),
    "gelu": nn.GELU(),
    "gelu_tanh": nn.GELU("tanh"),
    "softplus": nn.Softplus(),
    "elu": nn.ELU(0.7),
    "hardtanh": nn.Hardtanh(),
    "sin": Applied(torch.sin),
    "square": Applied(torch.square),
    "max": Applied(lambda h: torch.maximum(h, -0.5 * h)),
    "min": Applied(lambda h: torch.minimum(0.3 * h, h.flip(1))),
}


class Residual(nn.Module):
    def __init__(self, activation):
        super().__init__()
        torch.manual_seed(4)
        self.inner = perceptron(activation, 4, 7, 4, seed=5)
        self.last = nn.Linear(4, 3)
        self.activation = activation

    def forward(self, x):
        h = x + self.inner(x)
        return self.last(self.activation(h) + 0.5 * h) + x[:, :3]


def convolutional(activation):
    torch.manual_seed(6)
    return nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1),
        activation,
        nn.Conv2d(3, 2, 2, stride=2),
        activation,
        nn.Flatten(),
        nn.Linear(8, 2),
    )


def problem_of(net, shape, center, radius, norms=None, norm="linf"):
    graph = prepare(exported(net, shape), {"x": shape})
    middle = {"x": center}
    if norm == "linf":
        region = Box({"x": center - radius}, {"x": center + radius})
    else:
        region = Ball(middle, radius, norm)
    return Problem(graph, region, norms or Norms("linf", "linf"))


def assert_encloses(problem, net, points):
    network, inputs = read(problem.graph), inputs_of(problem)
    outputs = network.output.rows
    seeds = torch.eye(outputs, dtype=torch.float64)
    found = enclose(network, inputs, seeds, unclipped(network, outputs))
    assert not bool(found.is_empty.any())
    function = in_float64(exported(net, tuple(points.shape[1:])))

    def of_flat(x):
        output = function(x.reshape(points.shape[1:]))
        return (output[0] if isinstance(output, tuple | list) else output).flatten()

    gradient = found.a[0]
    for x in points.flatten(1):
        jacobian = torch.func.jacrev(of_flat)(x)
        slack = 1e-9 * (1 + jacobian.abs())
        assert bool((jacobian <= gradient.upper + slack).all())
        assert bool((jacobian >= gradient.lower - slack).all())
    return found


def inside(problem, count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    box = problem.boxes.sides["x"]
    share = torch.rand(count, *box.shape[1:], generator=generator, dtype=torch.float64)
    share[::3] = share[::3].round()
    points = box.lower + share * (box.upper - box.lower)
    region = problem.region
    if isinstance(region, Ball):
        order = {"l1": 1.0, "l2": 2.0}[region.norm]
        away = points - region.center["x"]
        size = away.flatten(1).norm(order, dim=1).clamp(min=region.radius or 1e-300)
        shape = (-1, *(1,) * (away.ndim - 1))
        points = region.center["x"] + away * (region.radius / size * (1 - 1e-12)).reshape(shape)
    return points


@settings(max_examples=3, deadline=None)
@given(
    seed=st.integers(0, 999),
    radius=st.sampled_from([0.0, 1e-13, 0.05, 0.5, 3.0]),
    norm=st.sampled_from(["linf", "l2", "l1"]),
)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_perceptrons(name, seed, radius, norm):
    net = perceptron(ACTIVATIONS[name], 4, 9, 8, 3, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    center = torch.randn(1, 4, generator=generator, dtype=torch.float64)
    problem = problem_of(net, (1, 4), center, radius, norm=norm)
    assert_encloses(problem, net, inside(problem, 12, seed))


@pytest.mark.parametrize("name", ["relu", "silu", "max"])
@pytest.mark.parametrize("radius", [0.0, 0.2, 1.5])
def test_residual_networks(name, radius):
    net = Residual(ACTIVATIONS[name])
    center = torch.full((1, 4), 0.2, dtype=torch.float64)
    problem = problem_of(net, (1, 4), center, radius)
    assert_encloses(problem, net, inside(problem, 30))


@pytest.mark.parametrize("name", ["relu", "gelu"])
def test_convolutional_networks(name):
    net = convolutional(ACTIVATIONS[name])
    center = torch.linspace(-1, 1, 16, dtype=torch.float64).reshape(1, 1, 4, 4)
    problem = problem_of(net, (1, 1, 4, 4), center, 0.3)
    assert_encloses(problem, net, inside(problem, 30))


def test_saturated_and_dead_neurons():
    net = perceptron(nn.Tanh(), 3, 8, 8, 2, seed=2, gain=400.0)
    problem = problem_of(net, (1, 3), torch.ones(1, 3).double(), 0.5)
    assert_encloses(problem, net, inside(problem, 30))
    dead = perceptron(nn.ReLU(), 3, 8, 8, 2, seed=2)
    with torch.no_grad():
        dead[0].bias -= 50.0
    problem = problem_of(dead, (1, 3), torch.ones(1, 3).double(), 0.5)
    gradient = assert_encloses(problem, dead, inside(problem, 30)).a[0]
    assert float(gradient.magnitude.max()) < 1e-100


def test_kinks_that_are_met_everywhere_count_on_both_sides():
    net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    with torch.no_grad():
        net[0].weight.zero_()
        net[0].bias.zero_()
        net[0].weight[0, 0] = 1.0
        net[2].weight.fill_(1.0)
    problem = problem_of(net, (1, 2), torch.zeros(1, 2).double(), 0.0)
    network, inputs = read(problem.graph), inputs_of(problem)
    found = enclose(network, inputs, torch.eye(1).double(), unclipped(network, 1))
    assert float(found.a[0].upper[0, 0]) >= 1.0
    assert float(found.a[0].lower[0, 0]) <= 0.0


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 999), cut=st.floats(-1, 1), neuron=st.integers(0, 7))
@pytest.mark.parametrize("name", ["relu", "tanh"])
def test_parts_hold_what_is_in_them(name, seed, cut, neuron):
    net = perceptron(ACTIVATIONS[name], 3, 8, 2, seed=seed).double()
    problem = problem_of(net.float(), (1, 3), torch.zeros(1, 3).double(), 1.0)
    network, inputs = read(problem.graph), inputs_of(problem)
    place = 0.0 if name == "relu" else cut
    clips = unclipped(network, 2)
    upper = clips[1].upper.clone()
    upper[:, neuron] = place
    found = enclose(network, inputs, torch.eye(2).double(), {1: Clip(clips[1].lower, upper)})
    exact = net.double()
    for x in inside(problem, 40, seed):
        if float(exact[0](x).detach()[0, neuron]) < place:
            jacobian = torch.func.jacrev(exact)(x).reshape(2, 3)
            assert not bool(found.is_empty.any())
            assert bool((jacobian <= found.a[0].upper + 1e-9).all())
            assert bool((jacobian >= found.a[0].lower - 1e-9).all())


def test_a_part_without_points_is_empty():
    net = perceptron(nn.ReLU(), 3, 4, 2)
    with torch.no_grad():
        net[0].bias.fill_(100.0)
    problem = problem_of(net, (1, 3), torch.zeros(1, 3).double(), 1.0)
    network, inputs = read(problem.graph), inputs_of(problem)
    clips = unclipped(network, 2)
    clips[1].upper[0, 1] = 0.0
    found = enclose(network, inputs, torch.eye(2).double(), clips)
    assert found.is_empty.tolist() == [True, False]


def test_roundings_of_products_are_carried():
    """Weights whose products cancel to a trillionth: compared with fractions."""
    generator = torch.Generator().manual_seed(3)
    first = torch.randn(40, 3, generator=generator)
    second = torch.randn(2, 40, generator=generator) * 2.0**20
    second[:, 20:], first[20:] = -second[:, :20], first[:20] * (1 + 2.0**-22)
    net = nn.Sequential(nn.Linear(3, 40, bias=False), nn.ReLU(), nn.Linear(40, 2, bias=False))
    with torch.no_grad():
        net[0].weight.copy_(first)
        net[2].weight.copy_(second)
    center = torch.tensor([[0.5, 0.25, -0.5]]).double()
    problem = problem_of(net, (1, 3), center, 0.0)
    network, inputs = read(problem.graph), inputs_of(problem)
    found = enclose(network, inputs, torch.eye(2).double(), unclipped(network, 2))
    weights = [net[layer].weight.detach() for layer in (0, 2)]
    is_on = [float(row @ center[0]) > 0 for row in weights[0].double()]
    for row in range(2):
        for column in range(3):
            exact = sum(
                Fraction(float(weights[1][row, k])) * Fraction(float(weights[0][k, column]))
                for k in range(40)
                if is_on[k]
            )
            lower, upper = found.a[0].lower[row, column], found.a[0].upper[row, column]
            assert Fraction(float(lower)) <= exact <= Fraction(float(upper))


@pytest.mark.parametrize(
    "module",
    [
        Applied(lambda x: x * torch.sin(x)),
        Applied(lambda x: x[:, :1] @ x[:, 1:]),
        Applied(lambda x: x / (2.0 + torch.sin(x))),
        Applied(lambda x: torch.sin(x).prod(1)),
    ],
)
def test_what_is_no_network_is_refused(module):
    graph = prepare(exported(module, (1, 2)), {"x": (1, 2)})
    with pytest.raises((UnsupportedOperator, NotCertified)):
        read(graph)


def test_sizes_that_overflow_are_refused():
    net = perceptron(nn.ReLU(), 3, 4, 2)
    with torch.no_grad():
        net[0].weight.fill_(1e30)
        net[2].weight.fill_(1e30)
    problem = problem_of(net, (1, 3), torch.ones(1, 3).double(), 1.0)
    network, inputs = read(problem.graph), inputs_of(problem)
    with pytest.raises(NotCertified):
        enclose(network, inputs, torch.eye(2).double(), unclipped(network, 2))


def test_a_matrix_is_read_in_the_order_of_the_program():
    net = convolutional(nn.Tanh())
    graph = prepare(exported(net, (1, 1, 4, 4)), {"x": (1, 1, 4, 4)})
    network = read(graph)
    x = torch.randn(1, 1, 4, 4, generator=torch.Generator().manual_seed(1)).double()
    values = {0: Interval.exact(x.flatten())}
    for number, layer in enumerate(network.layers, start=1):
        z = layer.argument.offset
        for source, matrix in layer.argument.maps.items():
            z = z + (matrix.interval * values[source]).rearranged(lambda e: e).lower.sum(1)
        values[number] = layer.function.value(z)
    y = network.output.offset.lower.clone()
    for source, matrix in network.output.maps.items():
        y = y + matrix.center @ values[source].lower
    assert torch.allclose(y, net.double()(x).flatten(), atol=1e-9)

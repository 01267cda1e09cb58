"""Bounds of fused graphs: above what is attained, near what is known, the same however written."""

import itertools
import json
import math

import pytest
import torch
from torch import nn

from certisolve_server.certifier.arithmetic import Interval
from certisolve_server.certifier.errors import NotCertified
from certisolve_server.certifier.methods.chain import MultiplierChain
from certisolve_server.certifier.methods.method import Board
from certisolve_server.certifier.methods.norms import FusedNorms
from certisolve_server.certifier.norms import Norms
from certisolve_server.certifier.prepare import prepare
from certisolve_server.certifier.problem import Problem
from certisolve_server.certifier.region import Ball, Box, Everything
from certisolve_server.certifier.structure import chained, layers_of
from chain_programs import lipsdp
from layered_networks import SMOOTH, MaxMin, convolutional
from slow_ones import mostly_slow
from small_networks import Applied, exported, in_float64, perceptron, sampled, steepest

L2 = Norms("l2", "l2")
METHODS = (FusedNorms(), MultiplierChain())
NETWORKS = {
    **{name: built for name, built in SMOOTH.items() if name not in ("branches", "constant")},
    "folds": (MaxMin, [(1, 4)]),
    "rectified": (lambda: perceptron(nn.ReLU(), 4, 8, 8, 3), [(1, 4)]),
}


def problem_of(net, shape, region=None, norms=L2):
    graph = prepare(exported(net, shape), {"x": tuple(shape)})
    return Problem(graph, region or Everything(), norms)


def least(method, problem, slices=400):
    """The best bound after some slices, with its evidence."""
    best = None
    for _, found in zip(range(slices), method.run(problem, Board()), strict=False):
        if found is not None and (best is None or found.upper < best.upper):
            best = found
    return best


def upper(net, shape, region=None, norms=L2, slices=400):
    return least(MultiplierChain(), problem_of(net, shape, region, norms), slices).upper


def built(name):
    build, shapes = NETWORKS[name]
    torch.manual_seed(11)
    return build(), shapes[0]


@pytest.mark.parametrize("norms", [("l2", "l2"), ("linf", "linf"), ("l1", "l2"), ("linf", "l1")])
@pytest.mark.parametrize("name", NETWORKS)
def test_no_pair_of_all_is_steeper_than_a_bound_and_evidence_proves_it_again(name, norms):
    net, shape = built(name)
    problem = problem_of(net, shape, norms=Norms(*norms))
    box = (torch.full(shape, -2.0).double(), torch.full(shape, 2.0).double())
    slope = steepest(in_float64(exported(net, shape)), box, 1)[problem.norms] * (1 - 1e-9)
    for method in METHODS:
        found = least(method, problem, 40)
        evidence = json.loads(json.dumps(found.evidence))
        assert slope <= method.recheck(problem, evidence) <= found.upper


@pytest.mark.parametrize("radius", [0.0, 0.3])
@pytest.mark.parametrize("norm", ["l1", "l2", "linf"])
@pytest.mark.parametrize("name", NETWORKS)
def test_no_pair_of_a_ball_is_steeper_than_its_bound(name, norm, radius):
    net, shape = built(name)
    center = torch.randn(shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    problem = problem_of(net, shape, Ball({"x": center}, radius, norm))
    forward, generator = in_float64(exported(net, shape)), torch.Generator().manual_seed(4)
    unit = (-torch.ones(shape).double(), torch.ones(shape).double())
    order = {"l1": 1.0, "l2": 2.0, "linf": math.inf}[norm]
    points = [
        center + radius * step / step.flatten().norm(order) for step in sampled(unit, 40, generator)
    ]
    bounds = [least(method, problem, 30).upper for method in METHODS]
    for x, y in itertools.pairwise(points):
        with torch.no_grad():
            change = (forward(x) - forward(y)).flatten().norm()
        distance = (x - y).flatten().norm()
        assert float(change) <= min(bounds) * float(distance) * (1 + 1e-9) + 1e-15


@pytest.mark.parametrize(
    "name",
    mostly_slow(["perceptron", "residual", "folds", "strided"], ["perceptron", "folds"]),
)
def test_a_bound_on_a_set_is_no_larger_than_on_more(name):
    net, shape = built(name)
    center = {"x": torch.zeros(shape, dtype=torch.float64)}
    regions = [Ball(center, 0.01, "l2"), Ball(center, 0.3, "l2"), Ball(center, 0.3, "linf"), None]
    for method in METHODS:
        problems = [problem_of(net, shape, region) for region in regions]
        bounds = [least(method, problem).upper for problem in problems]
        assert all(a <= b * (1 + 1e-4) for a, b in itertools.pairwise(bounds))


@pytest.mark.parametrize("widths", [(8, 12, 4), (8, 10, 10, 4)])
def test_perceptrons_are_bounded_as_by_a_solver_of_semidefinite_programs(widths):
    problem = problem_of(perceptron(nn.ReLU(), *widths), (1, widths[0]))
    exact = lipsdp(chained(layers_of(problem)))
    assert exact * (1 - 1e-4) <= least(MultiplierChain(), problem).upper <= exact * 1.001


def test_residual_networks_are_bounded_as_by_a_solver_of_semidefinite_programs():
    net, shape = built("residual")
    problem = problem_of(net, shape)
    exact = lipsdp(chained(layers_of(problem)))
    assert exact * (1 - 1e-4) <= least(MultiplierChain(), problem).upper <= exact * 1.001


class Sandwich(nn.Module):
    """Sandwich layers (Wang and Manchester, ICML 2023), of Lipschitz constant gamma at most.

    h' = sqrt 2 A^T Psi f(sqrt 2 Psi^-1 B h + b), A A^T + B B^T = I by the Cayley map, as Linear
    layers; the input and the output are multiplied by sqrt gamma.
    """

    def __init__(self, gamma: float, *widths: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(5)
        self.layers = nn.ModuleList()
        self.root = gamma**0.5
        for inputs, outputs in itertools.pairwise(widths):
            u = torch.randn(outputs, outputs, generator=generator, dtype=torch.float64)
            v = torch.randn(inputs, outputs, generator=generator, dtype=torch.float64)
            z, one = u - u.T + v.T @ v, torch.eye(outputs, dtype=torch.float64)
            a = (torch.linalg.inv(one + z) @ (one - z)).T
            b = (-2 * v @ torch.linalg.inv(one + z)).T
            psi = torch.randn(outputs, generator=generator, dtype=torch.float64).exp()
            self.layers.append(
                nn.ModuleList([_linear(2**0.5 * b / psi[:, None]), _linear(2**0.5 * a.T * psi)])
            )
        self.double()

    def forward(self, x):
        h = self.root * x
        for into, out in self.layers:
            h = out(torch.relu(into(h)))
        return self.root * h


def _linear(weight):
    layer = nn.Linear(weight.shape[1], weight.shape[0]).double()
    with torch.no_grad():
        layer.weight.copy_(weight)
    return layer


@pytest.mark.parametrize("widths", [(3, 8, 2), (5, 16, 16, 4)])
def test_sandwich_layers_are_bounded_by_the_constant_they_are_built_for(widths):
    gamma = 5.0
    net = Sandwich(gamma, *widths)
    program = torch.export.export(net, (torch.zeros(1, widths[0], dtype=torch.float64),))
    problem = Problem(prepare(program, {"x": (1, widths[0])}), Everything(), L2)
    assert least(MultiplierChain(), problem, 2000).upper <= gamma * (1 + 1e-6)
    assert least(FusedNorms(), problem).upper > gamma * 1.01


def as_matrices(net: nn.Sequential, shape) -> nn.Sequential:
    """The same network with a dense layer instead of each convolution and mean, built by torch."""
    layers, size = [nn.Flatten()], tuple(shape[1:])
    for layer in net:
        if isinstance(layer, nn.Conv2d | nn.AvgPool2d):
            at_zero = layer(torch.zeros(1, *size)).flatten()
            count = math.prod(size)
            columns = layer(torch.eye(count).reshape(count, *size)).flatten(1) - at_zero
            dense = nn.Linear(count, at_zero.numel())
            with torch.no_grad():
                dense.weight.copy_(columns.T)
                dense.bias.copy_(at_zero)
            size = tuple(layer(torch.zeros(1, *size)).shape[1:])
            layers.append(dense)
        elif not isinstance(layer, nn.Flatten):
            layers.append(layer)
    return nn.Sequential(*layers)


@pytest.mark.parametrize("mode", mostly_slow(["zeros", "circular"], ["zeros"]))
@pytest.mark.parametrize("stride", mostly_slow([1, 2], [1]))
def test_convolutions_and_their_dense_matrices_have_the_same_bound(stride, mode):
    torch.manual_seed(0)
    net, shape = convolutional(stride, mode, nn.ReLU()), (1, 1, 6, 6)
    dense = as_matrices(net, shape)
    x = torch.randn(shape)
    assert torch.allclose(net(x), dense(x), atol=1e-5)
    assert upper(net, shape) == pytest.approx(upper(dense, shape), rel=1e-4)
    for norms in (Norms("linf", "linf"), Norms("l1", "l1"), L2):
        found = [
            least(FusedNorms(), problem_of(each, shape, norms=norms)).upper for each in (net, dense)
        ]
        assert found[0] == pytest.approx(found[1], rel=1e-4)


def test_normalisation_by_constants_is_part_of_the_layer_before_it():
    torch.manual_seed(0)
    layer, norm = nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3)
    norm.running_var.copy_(torch.tensor([0.1, 2.0, 0.7]))
    norm.running_mean.copy_(torch.tensor([0.1, -2.0, 0.7]))
    end = nn.Linear(48, 2)
    folded = torch.nn.utils.fuse_conv_bn_eval(layer.eval(), norm.eval())
    found, exact = (
        upper(nn.Sequential(*front, nn.ReLU(), nn.Flatten(), end), (1, 1, 6, 6))
        for front in ((layer, norm), (folded,))
    )
    assert found == pytest.approx(exact, rel=1e-4)


def test_layers_in_two_parts_and_neurons_in_another_order_change_nothing():
    net = perceptron(nn.ReLU(), 4, 6, 6, 2)
    first, second, last = net[0], net[2], net[4]
    order = torch.randperm(6, generator=torch.Generator().manual_seed(1))
    basis = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(2)).double())[
        0
    ]
    split = nn.Sequential(
        first, nn.ReLU(), _plain(basis @ second.weight.double()), _plain(basis.T), nn.ReLU(), last
    )
    moved = nn.Sequential(
        _plain(first.weight[order]), nn.ReLU(), _plain(second.weight[:, order]), nn.ReLU(), last
    )
    whole = upper(net, (1, 4))
    assert upper(moved, (1, 4)) == pytest.approx(whole, rel=1e-5)
    assert upper(split, (1, 4)) == pytest.approx(whole, rel=1e-4)


def _plain(weight):
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    with torch.no_grad():
        layer.weight.copy_(weight)
    return layer


def test_weights_of_norms_rescale_the_network():
    net = perceptron(nn.Tanh(), 3, 5, 2)
    into, out = torch.tensor([0.5, 2.0, 3.0]), torch.tensor([4.0, 0.1])
    norms = Norms("l2", "l2", *(Interval.exact(w) for w in (into, out)))
    scaled = nn.Sequential(_plain(torch.diag(1 / into)), *net, _plain(torch.diag(out)))
    assert upper(net, (1, 3), norms=norms) == pytest.approx(upper(scaled, (1, 3)), rel=1e-5)


def test_a_scaled_network_has_a_scaled_bound():
    net = perceptron(nn.GELU(), 3, 5, 2)
    scaled = nn.Sequential(*net, _plain(3.0 * torch.eye(2)))
    assert upper(scaled, (1, 3)) == pytest.approx(3.0 * upper(net, (1, 3)), rel=1e-5)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_evidence_that_proves_nothing_is_refused(method):
    problem = problem_of(perceptron(nn.ReLU(), 3, 5, 2), (1, 3))
    for nothing in ({}, {"proof": "hope"}, {"parts": []}, {"parts": [{}]}, {"parts": [None]}):
        with pytest.raises(NotCertified):
            method.recheck(problem, nothing)


def test_multipliers_of_another_network_or_with_a_claim_too_small_are_refused():
    method = MultiplierChain()
    problem = problem_of(perceptron(nn.ReLU(), 3, 5, 2), (1, 3))
    evidence = least(method, problem).evidence
    part = evidence["parts"][0]
    for wrong in (
        {"upper": part["upper"] * 0.999},
        {"multipliers": []},
        {"multipliers": [[math.nan] * 5]},
    ):
        with pytest.raises(NotCertified):
            method.recheck(problem, {"parts": [{**part, **wrong}]})
    other = problem_of(perceptron(nn.ReLU(), 3, 5, 2, gain=3.0), (1, 3))
    with pytest.raises(NotCertified):
        method.recheck(other, evidence)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_slopes_without_bound_are_refused_unless_the_region_bounds_them(method):
    net = nn.Sequential(nn.Linear(2, 3), _Exp(), nn.Linear(3, 1))
    with pytest.raises(NotCertified, match=r"aten\.exp"):
        least(method, problem_of(net, (1, 2)))
    zero, one = torch.zeros(1, 2).double(), torch.ones(1, 2).double()
    assert least(method, problem_of(net, (1, 2), Box({"x": zero}, {"x": one}))).upper < math.inf


class _Exp(nn.Module):
    def forward(self, x):
        return torch.exp(x)


def test_a_large_convolutional_network_is_bounded_block_by_block():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(4, 4, 3, padding=1, stride=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(4 * 16 * 16, 3),
    )
    problem = problem_of(net, (1, 1, 32, 32))
    by_norms, by_chain = (least(method, problem, 20) for method in METHODS)
    assert by_chain.upper < by_norms.upper
    assert MultiplierChain().recheck(problem, by_chain.evidence) <= by_chain.upper
    box = (torch.full((1, 1, 32, 32), -1.0).double(), torch.ones(1, 1, 32, 32).double())
    assert steepest(in_float64(exported(net, (1, 1, 32, 32))), box, 1)[L2] <= by_chain.upper


def test_bounds_do_not_depend_on_when_they_are_found():
    problem = problem_of(perceptron(nn.ReLU(), 3, 5, 2), (1, 3))
    first, again = (least(MultiplierChain(), problem) for _ in range(2))
    assert first.upper == again.upper


#: Networks with what is not affine and no function of one number, or with next to nothing.
ODD = {
    "product": lambda x: torch.tanh(x) * x,
    "squares": lambda x: torch.relu(x * x),
    "quotient": lambda x: x / (1 + torch.relu(x)),
    "decay": lambda x: torch.exp(-torch.relu(x)) * x,
    "matrices": lambda x: torch.relu(x.mT) @ torch.relu(x),
    "maxima": lambda x: torch.maximum(torch.maximum(x, -x), x * x),
    "maximum_of_constant": lambda x: torch.maximum(torch.tanh(x), torch.zeros(1)),
    "maximum_broadcast": lambda x: torch.maximum(x, x[:, :1]),
    "maximum_of_itself": lambda x: torch.maximum(x, x),
    "sorted": lambda x: torch.sort(x.flatten())[0],
    "identity": lambda x: x,
    "nothing": lambda x: torch.relu(x * 0),
    "scalar": lambda x: torch.tanh(x).sum(),
    "gated": lambda x: torch.sigmoid(torch.tanh(x).sum(1, keepdim=True)) * torch.tanh(x),
    "empty": lambda x: torch.relu(x)[:, :0].sum() + x.sum(),
}


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
@pytest.mark.parametrize("name", ODD)
def test_whatever_a_network_is_made_of_it_has_a_bound_or_a_named_refusal(name, method):
    program, shape = exported(Applied(ODD[name]), (1, 3)), (1, 3)
    graph = prepare(program, {"x": shape})
    low, high = torch.full(shape, 0.2).double(), torch.full(shape, 0.9).double()
    slopes = steepest(in_float64(program), (low, high), 2)
    for region in (Everything(), Box({"x": low}, {"x": high})):
        for norms in (L2, Norms("linf", "l1")):
            try:
                found = least(method, Problem(graph, region, norms), 30)
            except NotCertified:
                assert isinstance(region, Everything) or name == "nothing"
                continue
            assert slopes[norms] * (1 - 1e-9) <= found.upper

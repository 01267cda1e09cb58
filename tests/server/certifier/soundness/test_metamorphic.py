"""What bounds of related networks have to do with each other, for every method."""

import copy
import itertools
import math

import pytest
import torch
from torch import nn

from all_bounds import all_bounds, lower_bound
from certisolve_server.certifier.norms import Norms
from certisolve_server.certifier.prepare import prepare
from certisolve_server.certifier.problem import Problem
from certisolve_server.certifier.region import Ball, Everything
from small_networks import exported, perceptron

CENTER = {"x": torch.tensor([[0.1, -0.4, 0.3]], dtype=torch.float64)}

#: Sums are rounded in another order.
SAME = 1e-7


def problem(net, radius=0.3, norms=("l2", "l2"), shape=(1, 3), norm="linf"):
    graph = prepare(exported(net, shape), {"x": shape})
    if radius is None:
        return Problem(graph, Everything(), Norms(*norms))
    center = CENTER if shape == (1, 3) else {"x": torch.full(shape, 0.1, dtype=torch.float64)}
    return Problem(graph, Ball(center, radius, norm), Norms(*norms))


def nets():
    return {
        "relu": perceptron(nn.ReLU(), 3, 6, 5, 2, seed=1),
        "gelu": perceptron(nn.GELU(), 3, 6, 5, 2, seed=2),
        "tanh": perceptron(nn.Tanh(), 3, 7, 2, seed=3),
    }


@pytest.mark.parametrize(("name", "radius"), [("relu", 0.3), ("gelu", None)])
def test_hidden_units_in_another_order_change_nothing(name, radius):
    net = nets()[name]
    permuted = copy.deepcopy(net)
    order = torch.randperm(net[0].out_features, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        permuted[0].weight.copy_(net[0].weight[order])
        permuted[0].bias.copy_(net[0].bias[order])
        permuted[2].weight.copy_(net[2].weight[:, order])
    # What needs no search is the same number; a search may go another way.
    first, second = (all_bounds(problem(each, radius)) for each in (net, permuted))
    assert first.keys() == second.keys()
    assert first["mean_value"] == pytest.approx(second["mean_value"], rel=SAME)
    assert first["norms"] == pytest.approx(second["norms"], rel=SAME)
    attained = lower_bound(problem(net, radius))
    for name, upper in second.items():
        assert attained <= upper, name


@pytest.mark.parametrize("radius", [0.3, None])
def test_a_layer_in_two_parts_is_not_below_what_is_attained_and_norms_see_no_difference(radius):
    net = perceptron(nn.ReLU(), 3, 6, 2, seed=4)
    inner = nn.Linear(3, 3, bias=False)
    with torch.no_grad():
        inner.weight.copy_(torch.tensor([[0.0, 2.0, 0.0], [0.0, 0.0, 4.0], [0.5, 0.0, 0.0]]))
        outer = nn.Linear(3, 6)
        # Powers of two and a permutation: the product is exact.
        outer.weight.copy_(net[0].weight @ torch.linalg.inv(inner.weight))
        outer.bias.copy_(net[0].bias)
        assert torch.equal(outer.weight @ inner.weight, net[0].weight)
    split = nn.Sequential(inner, outer, net[1], net[2])
    whole, parts = (all_bounds(problem(each, radius)) for each in (net, split))
    assert whole["norms"] == pytest.approx(parts["norms"], rel=1e-6)
    attained = lower_bound(problem(net, radius))
    for name, upper in parts.items():
        assert attained <= upper, name


@pytest.mark.parametrize(("name", "factor"), [("relu", 4.0), ("tanh", 0.25)])
def test_a_scaled_output_scales_the_bounds(name, factor):
    net = nets()[name]
    scaled = copy.deepcopy(net)
    with torch.no_grad():
        scaled[-1].weight.mul_(factor)
        scaled[-1].bias.mul_(factor)
    first, second = all_bounds(problem(net)), all_bounds(problem(scaled))
    for method in ("norms", "mean_value"):
        assert second[method] == pytest.approx(factor * first[method], rel=1e-6)
    attained = lower_bound(problem(net))
    for method, upper in second.items():
        assert factor * attained <= upper * (1 + 1e-9), method


@pytest.mark.parametrize("name", ["relu", "tanh"])
def test_more_is_allowed_to_happen_on_more(name):
    net = nets()[name]
    radii = (0.0, 1e-6, 0.3, None)
    found = [all_bounds(problem(net, radius)) for radius in radii]
    attained = [lower_bound(problem(net, radius)) for radius in radii]
    for smaller, larger in itertools.combinations(range(len(radii)), 2):
        # What is attained on a part is attained on the whole.
        for method, upper in found[larger].items():
            assert attained[smaller] <= upper, (method, radii[larger])
        before, after = found[smaller]["mean_value"], found[larger]["mean_value"]
        assert before <= after * (1 + SAME)


@pytest.mark.parametrize(
    ("name", "radius"), [("relu", 0.3), pytest.param("gelu", None, marks=pytest.mark.slow)]
)
def test_norms_bound_each_other(name, radius):
    net = nets()[name]
    lowers = {
        norms: lower_bound(problem(net, radius, norms), slices=3)
        for norms in itertools.product(("l1", "l2", "linf"), repeat=2)
    }
    uppers = {norms: all_bounds(problem(net, radius, norms), slices=4) for norms in lowers}
    best = {norms: min(found.values()) for norms, found in uppers.items()}
    # L_22 <= sqrt(L_11 L_ooo) holds of matrices, so of the constants.
    assert lowers["l2", "l2"] <= math.sqrt(best["l1", "l1"] * best["linf", "linf"])
    inputs, outputs = 3, 2
    assert lowers["linf", "l2"] <= math.sqrt(inputs) * best["l2", "l2"]
    assert lowers["l2", "l1"] <= math.sqrt(outputs) * best["l2", "l2"]
    assert lowers["l1", "linf"] <= min(best["l2", "l2"], best["linf", "linf"], best["l1", "l1"])
    assert lowers["linf", "l1"] <= inputs * best["l1", "l1"]


def test_weights_in_another_type_are_other_weights_by_their_rounding():
    net = perceptron(nn.Tanh(), 3, 6, 2, seed=6)
    double = torch.export.export(net.double().eval(), (torch.zeros(1, 3, dtype=torch.float64),))
    shapes = {"input": (1, 3)}
    wide = prepare(double, shapes)
    region = Ball({"input": CENTER["x"]}, 0.3, "linf")
    in_double = all_bounds(Problem(wide, region, Norms("l2", "l2")))
    in_single = all_bounds(problem(perceptron(nn.Tanh(), 3, 6, 2, seed=6)))
    # float32 weights are exact in float64.
    for method in ("norms", "mean_value"):
        assert in_double[method] == pytest.approx(in_single[method], rel=SAME)


def test_a_transposed_convolution_and_its_dense_matrix():
    torch.manual_seed(3)
    conv = nn.ConvTranspose1d(2, 3, 3, stride=2, padding=1, output_padding=1)
    units = torch.eye(8).reshape(8, 2, 4)
    with torch.no_grad():
        offset = conv(torch.zeros(1, 2, 4)).flatten()
        dense = nn.Linear(8, offset.numel())
        dense.weight.copy_((conv(units).flatten(1) - offset).T)
        dense.bias.copy_(offset)
    last = nn.Linear(offset.numel(), 2)
    shaped = nn.Sequential(nn.Unflatten(1, (2, 4)), conv, nn.Flatten(1), nn.Tanh(), last)
    flat = nn.Sequential(dense, nn.Tanh(), last)
    found = [all_bounds(problem(each, 0.2, shape=(1, 8))) for each in (shaped, flat)]
    assert found[0]["mean_value"] == pytest.approx(found[1]["mean_value"], rel=1e-5)
    attained = [lower_bound(problem(each, 0.2, shape=(1, 8))) for each in (shaped, flat)]
    for bounds, lower in itertools.product(found, attained):
        for method, upper in bounds.items():
            assert lower <= upper * (1 + 1e-5), method

"""Linear bounds, with and without cuts: beside exact constants, samples, and tampered evidence."""

import itertools
import json
import math

import pytest
import torch
from scipy.optimize import linprog
from torch import nn

from certisolve_server.certifier.arithmetic import Interval
from certisolve_server.certifier.errors import NotCertified
from certisolve_server.certifier.methods.branching import Branching
from certisolve_server.certifier.methods.linear import Linear
from certisolve_server.certifier.methods.mean_value import enclose
from certisolve_server.certifier.methods.method import Board, Bound
from certisolve_server.certifier.norms import Norms
from certisolve_server.certifier.prepare import prepare
from certisolve_server.certifier.problem import Problem
from certisolve_server.certifier.region import Ball, Box, Everything
from certisolve_server.certifier.witness import Witness
from small_networks import ORDERS, exported, perceptron, sampled

METHODS = [Linear(), Branching()]
_NORMS = [("linf", "linf"), ("l2", "l2"), ("l1", "l1"), ("l2", "linf"), ("linf", "l1")]
_ROUNDING = 1 + 1e-9


def boxed(net, inputs, radius, norms, center=0.1):
    graph = prepare(exported(net, (1, inputs)), {"x": (1, inputs)})
    middle = torch.full((1, inputs), center, dtype=torch.float64)
    return Problem(graph, Box({"x": middle - radius}, {"x": middle + radius}), norms)


def driven(method, problem, slices=12):
    """The last bound of some slices, after a check that what is found gets better."""
    turns = itertools.islice(method.run(problem, Board()), slices)
    found = [each for each in turns if isinstance(each, Bound)]
    assert [each.upper for each in found] == sorted((each.upper for each in found), reverse=True)
    return found[-1]


def as_stored(evidence):
    return json.loads(json.dumps(evidence))


def norm_of(jacobian, norms):
    """Of an exact matrix; linf to l1 by all signs."""
    p, q = ORDERS[norms.inputs], ORDERS[norms.outputs]
    if (norms.inputs, norms.outputs) == ("linf", "l1"):
        signs = itertools.product((-1.0, 1.0), repeat=jacobian.shape[1])
        return max(float((jacobian @ torch.tensor(s).double()).abs().sum()) for s in signs)
    if q == math.inf:
        duals = {1.0: math.inf, 2.0: 2.0, math.inf: 1.0}
        return float(jacobian.norm(duals[p], dim=1).max())
    return float(torch.linalg.matrix_norm(jacobian, p))


def exact_constant(net, lower, upper, norms):
    """Of a rectifier network of two hidden layers on a box: all patterns that are attained inside.

    Whether one is, a linear program tells: the least slack of its inequalities is made largest.
    """
    w = [layer.weight.detach().double() for layer in net if isinstance(layer, nn.Linear)]
    b = [layer.bias.detach().double() for layer in net if isinstance(layer, nn.Linear)]
    largest = 0.0
    for first in itertools.product((0.0, 1.0), repeat=len(b[0])):
        s1 = torch.tensor(first).double()
        if not _attained([(w[0], b[0], s1)], lower, upper):
            continue
        through = w[1] @ (s1[:, None] * w[0])
        offset = w[1] @ (s1 * b[0]) + b[1]
        for second in itertools.product((0.0, 1.0), repeat=len(b[1])):
            s2 = torch.tensor(second).double()
            if _attained([(w[0], b[0], s1), (through, offset, s2)], lower, upper):
                largest = max(largest, norm_of(w[2] @ (s2[:, None] * through), norms))
    return largest


def _attained(layers, lower, upper):
    rows, ends = [], []
    for weight, bias, pattern in layers:
        sign = 1.0 - 2.0 * pattern
        rows.append(torch.cat([sign[:, None] * weight, torch.ones(len(bias), 1).double()], 1))
        ends.append(-sign * bias)
    cost = [0.0] * len(lower) + [-1.0]
    bounds = [*zip(lower.tolist(), upper.tolist(), strict=True), (None, 1.0)]
    found = linprog(cost, torch.cat(rows).numpy(), torch.cat(ends).numpy(), bounds=bounds)
    return found.status == 0 and -found.fun > 1e-9


@pytest.mark.parametrize("norms", [Norms(*each) for each in _NORMS[:3]], ids=str)
def test_no_bound_is_below_the_exact_constant_and_cuts_reach_it(norms):
    net = perceptron(nn.ReLU(), 2, 4, 4, 2, seed=11)
    problem = boxed(net, 2, 0.8, norms)
    side = problem.boxes.flat()
    exact = exact_constant(net, side.lower[0], side.upper[0], norms)
    linear, branching = driven(Linear(), problem, 200), driven(Branching(), problem, 200)
    assert exact <= branching.upper * _ROUNDING
    assert branching.upper <= linear.upper * _ROUNDING
    assert branching.upper <= exact * 1.1


@pytest.mark.parametrize("norms", [Norms(*each) for each in _NORMS], ids=str)
@pytest.mark.parametrize("activation", [nn.ReLU(), nn.Tanh(), nn.GELU(), nn.Hardtanh()], ids=str)
@pytest.mark.parametrize("radius", [0.0, 1e-12, 0.3, 4.0])
def test_no_sampled_slope_exceeds_a_bound(norms, activation, radius):
    net = perceptron(activation, 5, 9, 8, 3, seed=3)
    problem = boxed(net, 5, radius, norms)
    uppers = [driven(method, problem, 6).upper for method in METHODS]
    side = problem.boxes.flat()
    points = sampled((side.lower[0], side.upper[0]), 40, torch.Generator().manual_seed(1))
    jacobians = torch.vmap(torch.func.jacrev(net.double()))(points)
    attained = max(norm_of(each.detach(), norms) for each in jacobians)
    assert all(attained <= upper * _ROUNDING for upper in uppers)


@pytest.mark.parametrize("norm", ["l1", "l2"])
@pytest.mark.parametrize("method", METHODS, ids=lambda each: each.name)
def test_a_ball_is_bounded_below_its_box_and_above_its_samples(method, norm):
    net = perceptron(nn.SiLU(), 6, 12, 12, 2, seed=5)
    graph = prepare(exported(net, (1, 6)), {"x": (1, 6)})
    center, radius = torch.full((1, 6), 0.3, dtype=torch.float64), 0.8
    of_ball = Problem(graph, Ball({"x": center}, radius, norm), Norms(norm, "linf"))
    box = Box({"x": center - radius}, {"x": center + radius})
    of_box = Problem(graph, box, Norms(norm, "linf"))
    ball = driven(method, of_ball, 4).upper
    assert ball <= driven(method, of_box, 4).upper * _ROUNDING
    away = torch.randn(200, 6, generator=torch.Generator().manual_seed(2)).double()
    points = center + radius * away / away.norm(ORDERS[norm], dim=1, keepdim=True)
    jacobians = torch.vmap(torch.func.jacrev(net.double()))(points)
    assert max(norm_of(each.detach(), of_ball.norms) for each in jacobians) <= ball * _ROUNDING


def test_weights_of_norms_scale_the_map():
    net = perceptron(nn.Tanh(), 4, 8, 2, seed=7)
    inner = torch.tensor([0.5, 2.0, 1.0, 4.0]).double()
    outer = torch.tensor([3.0, 0.25]).double()
    for p, q in _NORMS:
        weights = Norms(p, q, Interval.exact(inner), Interval.exact(outer))
        scaled = nn.Sequential(nn.Linear(4, 4), net, nn.Linear(2, 2))
        with torch.no_grad():
            scaled[0].weight.copy_(torch.diag(1.0 / inner))
            scaled[2].weight.copy_(torch.diag(outer))
            scaled[0].bias.zero_()
            scaled[2].bias.zero_()
        weighted = boxed(net, 4, 0.5, weights, 0.0)
        side = {"x": 0.5 * inner[None]}
        graph = prepare(exported(scaled, (1, 4)), {"x": (1, 4)})
        plain = Problem(graph, Box({"x": -side["x"]}, side), Norms(p, q))
        for method in METHODS:
            bounds = [driven(method, each, 3).upper for each in (weighted, plain)]
            assert bounds[0] == pytest.approx(bounds[1], rel=0.02)


@pytest.mark.parametrize("activation", [nn.Tanh(), nn.SiLU(), nn.GELU()], ids=str)
@pytest.mark.parametrize("radius", [0.1, 0.5, 2.0])
def test_linear_bounds_are_below_those_of_intervals(activation, radius):
    net = perceptron(activation, 8, 24, 24, 2, seed=1)
    problem = boxed(net, 8, radius, Norms("linf", "linf"))
    by_intervals = float(problem.norms.bound(enclose(problem.graph, problem.boxes).jacobian))
    assert driven(Linear(), problem, 4).upper < 0.9 * by_intervals


def test_an_affine_map_is_exact_and_a_larger_set_has_no_smaller_bound():
    net = nn.Linear(3, 2)
    problem = boxed(net, 3, 1.0, Norms("linf", "linf"))
    exact = norm_of(net.weight.detach().double(), problem.norms)
    for method in METHODS:
        assert exact <= driven(method, problem).upper <= exact * (1 + 1e-8)
    deep = perceptron(nn.ReLU(), 3, 8, 8, 2, seed=4)
    bounds = [driven(Linear(), boxed(deep, 3, r, problem.norms), 3).upper for r in (0.1, 0.4, 1.6)]
    assert bounds == sorted(bounds)


@pytest.mark.parametrize("norms", [Norms("linf", "linf"), Norms("l2", "l2")], ids=str)
@pytest.mark.parametrize("method", METHODS, ids=lambda each: each.name)
@pytest.mark.parametrize("activation", [nn.ReLU(), nn.SiLU()], ids=str)
def test_stored_evidence_proves_the_bound_again(method, norms, activation):
    problem = boxed(perceptron(activation, 4, 10, 10, 3, seed=9), 4, 0.7, norms)
    best = driven(method, problem, 25)
    again = method.recheck(problem, as_stored(best.evidence))
    assert best.upper * (1 - 1e-6) <= again <= best.upper
    other = boxed(perceptron(activation, 4, 9, 9, 3, seed=9), 4, 0.7, norms)
    if "slopes" in best.evidence:
        with pytest.raises(NotCertified):
            method.recheck(other, as_stored(best.evidence))


@pytest.mark.parametrize(
    "tamper",
    [
        lambda trees: trees[:-1],
        lambda trees: [[], *trees[1:]],
        lambda trees: [trees[0][:-1], *trees[1:]],
        lambda trees: [[*trees[0], None], *trees[1:]],
        lambda trees: [[[1, 99, 0.0], None, None], *trees[1:]],
        lambda trees: [[[0, 0, 0.0], None, None], *trees[1:]],
        lambda trees: [[[1, 0, math.nan], None, None], *trees[1:]],
        lambda trees: [[[1, 0, "0"], None, None], *trees[1:]],
        lambda trees: "all",
        lambda trees: None,
    ],
)
def test_trees_that_do_not_cover_the_region_prove_nothing(tamper):
    problem = boxed(perceptron(nn.ReLU(), 3, 6, 2, seed=2), 3, 1.0, Norms("linf", "linf"))
    trees = as_stored(driven(Branching(), problem).evidence)["trees"]
    with pytest.raises(NotCertified):
        Branching().recheck(problem, {"trees": tamper(trees)})


def _image(seed):
    """A network of many inputs, on a box in which few patterns are attained."""
    net = perceptron(nn.ReLU(), 12, 12, 12, 2, seed=seed)
    problem = boxed(net, 12, 0.12, Norms("linf", "linf"), 0.3)
    found = [each for each in Branching().run(problem, Board()) if each is not None]
    bounds = [each for each in found if isinstance(each, Bound)]
    lower = max(each.lower for each in found if isinstance(each, Witness))
    return problem, bounds[-1], lower


def test_a_search_to_its_end_meets_its_own_witness():
    for seed in (1, 2):
        _, best, lower = _image(seed)
        assert lower <= best.upper <= lower * (1 + 1e-7)


def test_parts_are_empty_only_by_multipliers_that_prove_it():
    seeds = (_image(seed) for seed in itertools.count(1))
    problem, best, _ = next(each for each in seeds if "empty" in json.dumps(each[1].evidence))
    trees = as_stored(best.evidence)["trees"]
    leaves = [leaf for tree in trees for leaf in tree if isinstance(leaf, dict)]
    assert Branching().recheck(problem, {"trees": trees}) <= best.upper
    kept = [[list(pair) for pair in leaf["empty"]] for leaf in leaves]
    for damage in (lambda factor: 0.0, lambda factor: -factor, lambda factor: math.nan):
        for leaf, pairs in zip(leaves, kept, strict=True):
            leaf["empty"] = [[age, damage(factor)] for age, factor in pairs]
        assert Branching().recheck(problem, {"trees": trees}) > best.upper
    for pair in ([0], [99, 1.0], [-1, 1.0], ["0", 1.0]):
        leaves[0]["empty"] = [pair]
        with pytest.raises(NotCertified):
            Branching().recheck(problem, {"trees": trees})


def test_fewer_cuts_prove_less():
    problem = boxed(perceptron(nn.ReLU(), 3, 8, 8, 2, seed=2), 3, 1.0, Norms("linf", "linf"))
    best = driven(Branching(), problem, 60)
    assert Branching().recheck(problem, {"trees": [[None], [None]]}) > best.upper


@pytest.mark.parametrize("method", METHODS, ids=lambda each: each.name)
def test_unbounded_sets_and_damaged_slopes_are_refused(method):
    problem = boxed(perceptron(nn.ReLU(), 3, 6, 2), 3, 1.0, Norms("linf", "linf"))
    everything = Problem(problem.subject, Everything(), problem.norms)
    with pytest.raises(NotCertified):
        list(method.run(everything, Board()))
    for slopes in ({"1": "AAAA"}, {"1": "!"}, {}, 3, {"1": "AADAf" * 8}):
        with pytest.raises(NotCertified):
            Linear().recheck(problem, {"slopes": slopes})

"""Lower bounds are attained: sharp where the constant is known, and proven from their witness."""

import itertools
import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from certisolve_server.certifier.arithmetic import Interval
from certisolve_server.certifier.errors import NotCertified
from certisolve_server.certifier.falsify import attack, recheck_witness
from certisolve_server.certifier.methods.mean_value import enclose
from certisolve_server.certifier.methods.method import Board
from certisolve_server.certifier.norms import NORMS, Norms
from certisolve_server.certifier.prepare import prepare
from certisolve_server.certifier.problem import Problem
from certisolve_server.certifier.region import Ball, Box, Everything
from slow_ones import mostly_slow
from small_networks import Applied, exported, perceptron

#: Slices until a small network is searched well.
_SLICES = 400


def graph_of(module, *shape):
    return prepare(exported(module, (1, *shape)), {"x": (1, *shape)})


def box_of(shape, lower, upper):
    ends = (torch.full((1, *shape), end, dtype=torch.float64) for end in (lower, upper))
    return Box(*({"x": end} for end in ends))


def ball_of(shape, radius, norm, limits=None):
    return Ball({"x": torch.full((1, *shape), 0.3, dtype=torch.float64)}, radius, norm, limits)


def best(problem, slices=_SLICES, seed=0):
    found = [
        each
        for each in itertools.islice(attack(problem, seed, Board()), slices)
        if each is not None
    ]
    assert [each.lower for each in found] == sorted(each.lower for each in found)
    for each in found:
        assert recheck_witness(problem, each) >= each.lower
    return found[-1] if found else None


LINEAR = nn.Linear(3, 2, bias=False)
with torch.no_grad():
    LINEAR.weight.copy_(torch.tensor([[1.0, -2.0, 0.5], [0.25, 3.0, -1.0]]))


def norm_of_linear(p, q):
    """Of a matrix with few columns: the largest |M v|_q over the extreme points, or a fine grid."""
    matrix = LINEAR.weight.detach().double()
    if p == "l1":
        vertices = torch.eye(3, dtype=torch.float64)
    elif p == "linf":
        vertices = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=3)), dtype=torch.float64)
    else:
        points = torch.randn(400_000, 3, generator=torch.Generator().manual_seed(0)).double()
        vertices = points / points.norm(dim=1, keepdim=True)
    order = {"l1": 1, "l2": 2, "linf": math.inf}[q]
    return float((vertices @ matrix.T).norm(order, dim=1).amax())


@pytest.mark.parametrize("p", NORMS)
@pytest.mark.parametrize("q", NORMS)
@pytest.mark.parametrize(
    "region",
    [
        box_of((3,), -1.0, 0.5),
        ball_of((3,), 0.2, "l1"),
        ball_of((3,), 0.2, "l2"),
        ball_of((3,), 0.2, "linf", box_of((3,), 0.3, 0.4)),
        Everything(),
    ],
    ids=["box", "l1 ball", "l2 ball", "clipped ball", "everything"],
)
def test_the_norm_of_a_matrix_is_attained_in_all_norms_and_on_all_sets(p, q, region):
    found = best(Problem(graph_of(LINEAR, 3), region, Norms(p, q)), slices=30)
    assert found.lower == pytest.approx(norm_of_linear(p, q), rel=1e-4)


def test_weights_of_norms_count():
    scales = torch.tensor([2.0, 0.5, 1.0], dtype=torch.float64)
    norms = Norms(
        "linf", "l1", Interval.exact(scales), Interval.exact(torch.tensor([1.0, 4.0]).double())
    )
    found = best(Problem(graph_of(LINEAR, 3), Everything(), norms), slices=30)
    scaled = LINEAR.weight.detach().double() / scales * torch.tensor([[1.0], [4.0]])
    vertices = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=3)), dtype=torch.float64)
    assert found.lower == pytest.approx(float((vertices @ scaled.T).abs().sum(1).max()), rel=1e-6)


CURVES = [nn.ReLU(), nn.Tanh(), nn.SiLU(), nn.LeakyReLU(0.1), nn.Hardtanh()]


@pytest.mark.parametrize(
    "activation",
    mostly_slow(CURVES, CURVES[:2]),
)
def test_the_steepest_place_of_a_curve_is_found(activation):
    net = perceptron(activation, 1, 12, 12, 1, seed=4)
    graph = graph_of(net, 1)
    x = torch.linspace(-2.0, 2.0, 200_001, dtype=torch.float64).reshape(-1, 1)
    y = net.double()(x).detach()
    steepest = float(((y[1:] - y[:-1]) / (x[1:] - x[:-1])).abs().amax())
    found = best(Problem(graph, box_of((1,), -2.0, 2.0), Norms("l2", "l2")))
    assert found.lower >= steepest * (1.0 - 1e-4)


def test_a_witness_is_never_above_the_slopes_of_its_surroundings():
    net = perceptron(nn.GELU(), 3, 8, 8, 2, seed=1)
    graph = graph_of(net, 3)
    for norm, radius in itertools.product(NORMS, (1e-6, 0.1, 2.0)):
        problem = Problem(graph, ball_of((3,), radius, norm), Norms(norm, "l2"))
        upper = float(problem.norms.bound(enclose(graph, problem.require_boxes()).jacobian))
        found = best(problem, slices=40)
        assert 0.0 < found.lower <= upper
        if radius == 1e-6:
            assert found.lower >= 0.999 * upper


def test_a_set_of_one_point_has_no_witness():
    problem = Problem(graph_of(LINEAR, 3), ball_of((3,), 0.0, "l2"), Norms("l2", "l2"))
    assert best(problem) is None


def test_a_set_without_width_along_some_axes_has_one_along_the_others():
    lower = {"x": torch.tensor([[0.0, 1.0, 2.0]], dtype=torch.float64)}
    upper = {"x": torch.tensor([[0.0, 2.0, 2.0]], dtype=torch.float64)}
    problem = Problem(graph_of(LINEAR, 3), Box(lower, upper), Norms("linf", "linf"))
    assert best(problem, slices=20).lower == pytest.approx(3.0, rel=1e-6)


def test_one_seed_is_one_search():
    problem = Problem(
        graph_of(perceptron(nn.Tanh(), 2, 6, 1), 2), box_of((2,), -1.0, 1.0), Norms("l2", "l2")
    )
    assert best(problem, 60).lower == best(problem, 60).lower


def test_a_constant_map_has_no_witness():
    graph = graph_of(Applied(lambda x: torch.relu(x - 9.0)), 3)
    assert best(Problem(graph, box_of((3,), 0.0, 1.0), Norms("l2", "l2"))) is None


def test_what_proves_nothing_is_refused():
    problem = Problem(graph_of(LINEAR, 3), box_of((3,), 0.0, 1.0), Norms("l2", "l2"))
    found = best(problem, slices=20)
    outside = {"x": found.x["x"] + 5.0}
    with pytest.raises(NotCertified, match="region"):
        recheck_witness(problem, replace(found, x=outside))
    with pytest.raises(NotCertified, match="region"):
        recheck_witness(problem, replace(found, kind="direction", other={"x": found.x["x"] + 9.0}))
    for kind, other in (("pair", found.x), ("direction", {"x": torch.zeros_like(found.x["x"])})):
        with pytest.raises(NotCertified, match="same"):
            recheck_witness(problem, replace(found, kind=kind, other=other))

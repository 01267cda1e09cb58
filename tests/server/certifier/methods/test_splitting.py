"""Cutting a box in two only ever helps, and its evidence proves what was found, no less."""

import itertools
import json

import pytest
import torch
from torch import nn

from certisolve_server.certifier.errors import NotCertified
from certisolve_server.certifier.methods.mean_value import MeanValue
from certisolve_server.certifier.methods.method import Board, Bound
from certisolve_server.certifier.methods.splitting import Splitting
from certisolve_server.certifier.norms import Norms
from certisolve_server.certifier.prepare import prepare
from certisolve_server.certifier.problem import Problem
from certisolve_server.certifier.region import Ball, Box, Everything
from small_networks import Applied, exported, perceptron

L2 = Norms("l2", "l2")
LINF = Norms("linf", "linf")


@pytest.fixture(scope="module")
def net():
    program = exported(perceptron(nn.Tanh(), 2, 6, 6, 2, seed=4), (1, 2))
    return prepare(program, {"x": (1, 2)})


@pytest.fixture(scope="module")
def kinked():
    """Smooth but for a line, with numbers that no tape takes."""
    program = exported(Applied(lambda x: torch.maximum(torch.sin(x), x - 0.3)), (1, 2))
    return prepare(program, {"x": (1, 2)})


@pytest.mark.parametrize("norms", [L2, LINF, Norms("linf", "l1"), Norms("l1", "l2")], ids=str)
@pytest.mark.parametrize("name", ["net", "kinked"])
def test_bounds_fall_and_their_evidence_proves_them_again(name, norms, request):
    problem = _problem(request.getfixturevalue(name), -1.0, 1.0, norms)
    bounds = _bounds(problem, 24)

    uppers = [each.upper for each in bounds]
    assert uppers == sorted(uppers, reverse=True)
    for each in bounds[:: max(1, len(bounds) // 4)]:
        evidence = json.loads(json.dumps(each.evidence))
        assert Splitting().recheck(problem, evidence) <= each.upper


def test_many_cuts_close_in_on_the_largest_slope(net):
    problem = _problem(net, -1.0, 1.0, LINF)
    whole = next(MeanValue().run(problem, Board())).upper
    last = _bounds(problem, 60)[-1].upper

    steepest = _steepest(net, 200)
    assert steepest <= last * (1 + 1e-9)
    assert last <= 1.02 * steepest
    assert whole > 1.5 * last


def test_one_dimension_is_closed_in_on():
    graph = prepare(exported(Applied(lambda x: torch.sin(x) * x), (1, 1)), {"x": (1, 1)})
    last = _bounds(_problem(graph, 0.0, 1.0, L2), 30)[-1].upper

    # The largest slope of x sin x on [0, 1] is at 1.
    exact = torch.sin(torch.tensor(1.0)).item() + torch.cos(torch.tensor(1.0)).item()
    assert exact <= last * (1 + 1e-6)
    assert last <= exact * (1 + 1e-3)


def test_around_a_ball_the_corners_do_not_count():
    # Steep at the corners alone.
    program = exported(Applied(lambda x: (x[:, :1] ** 6) * (x[:, 1:] ** 6)), (1, 2))
    graph = prepare(program, {"x": (1, 2)})
    ball = Problem(graph, Ball({"x": torch.zeros(1, 2)}, 1.0, "l2"), L2)
    box = _problem(graph, -1.0, 1.0, L2)

    of_ball, of_box = (_bounds(problem, 60)[-1] for problem in (ball, box))

    # At the corner: 6 in each direction. On the circle: sin cos with sixth powers.
    angle = torch.linspace(0, 1.58, 4001, dtype=torch.float64)
    x, y = angle.cos(), angle.sin()
    exact = (6 * x**5 * y**5 * (x**2 + y**2).sqrt()).max().item()
    assert of_box.upper >= 6 * 2**0.5
    assert exact <= of_ball.upper <= 1.1 * exact
    assert Splitting().recheck(ball, of_ball.evidence) <= of_ball.upper
    assert Splitting().recheck(box, of_ball.evidence) >= of_box.upper * (1 - 1e-9)


def test_everything_is_cut_as_well():
    program = exported(Applied(lambda x: torch.tanh(x) * torch.tanh(-x)), (1, 1))
    problem = Problem(prepare(program, {"x": (1, 1)}), Everything(), LINF)
    first, last = next(MeanValue().run(problem, Board())), _bounds(problem, 28)[-1]
    # |2 t (1 - t^2)| with t = tanh x is largest where 3 t^2 = 1.
    exact = 4 / 27**0.5
    assert first.upper >= 1.9
    assert exact <= last.upper <= 1.05 * exact
    assert Splitting().recheck(problem, last.evidence) <= last.upper


def test_a_point_cannot_be_cut_and_ends_the_search(net):
    assert len(_bounds(_problem(net, 0.3, 0.3, L2), 100)) == 1


def test_a_box_of_neighbouring_floats_ends_the_search(net):
    low = torch.tensor(0.3, dtype=torch.float64)
    high = torch.nextafter(low, torch.tensor(1.0, dtype=torch.float64))
    problem = _problem(net, low, high, L2)
    assert sum(1 for _ in Splitting().run(problem, Board())) < 50


@pytest.mark.parametrize("change", [".", "9", "0.", "..", "é"])
def test_a_tree_that_is_changed_proves_nothing_less(net, change):
    problem = _problem(net, -1.0, 1.0, LINF)
    last = _bounds(problem, 20)[-1]
    cuts = list(last.evidence["cuts"])
    for level in (0, 2, len(cuts) - 1):
        altered = {**last.evidence, "cuts": [*cuts[:level], change, *cuts[level + 1 :]]}
        try:
            proven = Splitting().recheck(problem, altered)
        except NotCertified:
            continue
        assert proven >= _steepest(net, 50)


def test_evidence_of_another_kind_is_refused(net):
    problem = _problem(net, -1.0, 1.0, LINF)
    cuts = _bounds(problem, 5)[-1].evidence["cuts"]
    with pytest.raises((NotCertified, KeyError)):
        Splitting().recheck(problem, {"by": "faith", "cuts": cuts})
    with pytest.raises(NotCertified):
        Splitting().recheck(problem, {"by": "taylor", "cuts": cuts[:-1]})
    with pytest.raises(NotCertified):
        MeanValue().recheck(problem, {"cuts": cuts})


def test_a_face_stands_for_its_box_only_where_slopes_grow_towards_it(net):
    problem = _problem(net, -1.0, 1.0, LINF)
    for face in "12":
        # Of the whole box, in which slopes rise and fall: then the face counts for nothing.
        bound = Splitting().recheck(problem, {"by": "taylor", "cuts": [face, "."]})
        assert bound >= _steepest(net, 50)


def test_a_graph_without_a_finite_bound_is_not_certified():
    graph = prepare(exported(Applied(lambda x: torch.sqrt(x)), (1, 1)), {"x": (1, 1)})
    problem = _problem(graph, 0.0, 1.0, L2)
    with pytest.raises(NotCertified, match="no finite bound"):
        list(Splitting().run(problem, Board()))
    with pytest.raises(NotCertified):
        list(MeanValue().run(problem, Board()))


def test_a_set_outside_of_the_domain_is_not_certified_and_the_node_is_named():
    graph = prepare(exported(Applied(lambda x: 1.0 / x), (1, 1)), {"x": (1, 1)})
    with pytest.raises(NotCertified, match=r"aten\.reciprocal\.default at node"):
        list(MeanValue().run(_problem(graph, -1.0, 1.0, L2), Board()))


def test_a_bound_that_overflows_is_not_certified():
    graph = prepare(exported(Applied(lambda x: torch.exp(x * x)), (1, 1)), {"x": (1, 1)})
    with pytest.raises(NotCertified):
        list(MeanValue().run(_problem(graph, 0.0, 1e3, L2), Board()))


def test_boxes_of_many_numbers_are_not_cut():
    graph = prepare(exported(nn.Linear(40, 2), (1, 40)), {"x": (1, 40)})
    with pytest.raises(NotCertified, match="at most"):
        list(Splitting().run(_problem(graph, -1.0, 1.0, L2), Board()))


def _bounds(problem, slices):
    steps = itertools.islice(Splitting().run(problem, Board()), slices)
    return [each for each in steps if isinstance(each, Bound)]


def _problem(graph, lower, upper, norms) -> Problem:
    shapes = {each.name: each.shape for each in graph.inputs}

    def corner(number):
        number = torch.as_tensor(number, dtype=torch.float64)
        return {name: number.expand(shape) for name, shape in shapes.items()}

    return Problem(graph, Box(corner(lower), corner(upper)), norms)


def _steepest(graph, count) -> float:
    """The largest linf norm of Jacobians of the net on a grid of the square of -1 to 1."""
    net = perceptron(nn.Tanh(), 2, 6, 6, 2, seed=4).double()
    line = torch.linspace(-1, 1, count, dtype=torch.float64)
    points = torch.cartesian_prod(line, line)
    jacobians = torch.func.vmap(torch.func.jacrev(net))(points)
    return jacobians.abs().sum(2).amax().item()

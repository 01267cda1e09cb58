"""Cutting a box in two only ever helps, and whoever asks decides how long."""

import pytest
import torch
from torch import nn

from certisolve_server.certifier.domain import Boxes, box
from certisolve_server.certifier.errors import NotCertified
from certisolve_server.certifier.graph.digest import digest
from certisolve_server.certifier.methods.mean_value import bound
from certisolve_server.certifier.methods.splitting import split
from certisolve_server.certifier.norms import Norms
from certisolve_server.certifier.prepare import prepare
from small_networks import Applied, exported, perceptron

L2 = Norms("l2", "l2")


@pytest.fixture(scope="module")
def net():
    program = exported(perceptron(nn.Tanh(), 2, 6, 6, 2, seed=4), (1, 2))
    return prepare(program, {"x": (1, 2)})


def test_bounds_fall_and_are_given_as_they_are_found(net):
    certificates = list(split(net, _box(net, -1.0, 1.0), L2, _times(8)))

    uppers = [each.upper for each in certificates]
    assert uppers == sorted(uppers, reverse=True)
    assert uppers[-1] < 0.8 * uppers[0]
    assert [each.splits for each in certificates] == sorted(each.splits for each in certificates)


def test_the_first_bound_is_that_of_the_whole_box(net):
    first = next(split(net, _box(net, -1.0, 1.0), L2, _times(8)))

    assert first == bound(net, _box(net, -1.0, 1.0), L2)
    assert (first.method, first.splits, first.level) == ("mean_value", 0, "real")


def test_a_certificate_says_what_was_proven(net):
    *_, last = split(net, _box(net, -1.0, 0.5), Norms("linf", "l1"), _times(3))

    assert last.method == "splitting"
    assert last.graph == digest(net)
    assert last.norms == Norms("linf", "l1")
    assert last.lower_corner == (("x", (-1.0, -1.0)),)
    assert last.upper_corner == (("x", (0.5, 0.5)),)


def test_without_a_budget_there_is_the_first_bound_alone(net):
    assert len(list(split(net, _box(net, -1.0, 1.0), L2, lambda: False))) == 1


def test_one_dimension_is_closed_in_on():
    graph = prepare(exported(Applied(lambda x: torch.sin(x) * x), (1, 1)), {"x": (1, 1)})
    *_, last = split(graph, _box(graph, 0.0, 1.0), L2, _times(25), batch=4)

    # The largest slope of x sin x on [0, 1] is at 1.
    exact = torch.sin(torch.tensor(1.0)).item() + torch.cos(torch.tensor(1.0)).item()
    assert exact <= last.upper * (1 + 1e-6)
    assert last.upper <= exact * (1 + 1e-3)


def test_a_point_cannot_be_cut_and_ends_the_search(net):
    (only,) = split(net, _box(net, 0.3, 0.3), L2, lambda: True)
    assert only.splits == 0


def test_a_box_of_neighbouring_floats_ends_the_search(net):
    low = torch.tensor(0.3, dtype=torch.float64)
    high = torch.nextafter(low, torch.tensor(1.0, dtype=torch.float64))
    assert list(split(net, _box(net, low, high), L2, lambda: True))


def test_a_graph_without_a_finite_bound_is_not_certified():
    graph = prepare(exported(Applied(lambda x: torch.sqrt(x)), (1, 1)), {"x": (1, 1)})
    with pytest.raises(NotCertified, match="no finite bound"):
        list(split(graph, _box(graph, 0.0, 1.0), L2, _times(4)))
    with pytest.raises(NotCertified):
        bound(graph, _box(graph, 0.0, 1.0), L2)


def test_a_set_outside_of_the_domain_is_not_certified_and_the_node_is_named():
    graph = prepare(exported(Applied(lambda x: 1.0 / x), (1, 1)), {"x": (1, 1)})
    with pytest.raises(NotCertified, match=r"aten\.reciprocal\.default at node"):
        bound(graph, _box(graph, -1.0, 1.0), L2)


def test_a_bound_that_overflows_is_not_certified():
    graph = prepare(exported(Applied(lambda x: torch.exp(x * x)), (1, 1)), {"x": (1, 1)})
    with pytest.raises(NotCertified):
        bound(graph, _box(graph, 0.0, 1e3), L2)


def _times(count):
    remaining = iter([True] * count + [False])
    return lambda: next(remaining)


def _box(graph, lower, upper) -> Boxes:
    shapes = {each.name: each.shape for each in graph.inputs}

    def corner(number):
        number = torch.as_tensor(number, dtype=torch.float64)
        return {name: number.expand(shape) for name, shape in shapes.items()}

    return box(graph, corner(lower), corner(upper))

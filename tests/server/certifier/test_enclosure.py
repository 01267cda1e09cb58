"""Outputs lie in their enclosures, which cuts make as small as the outputs are."""

import itertools
import math

import pytest
import torch
from torch import nn

from bundled_requests import REQUESTS
from certisolve_server.certifier.enclosure import enclosures
from certisolve_server.certifier.execution import Execution
from certisolve_server.certifier.falsify.flows import FlowExecution
from certisolve_server.certifier.norms import Norms
from certisolve_server.certifier.prepare import prepare
from certisolve_server.certifier.problem import Flow, Problem
from certisolve_server.certifier.region import Ball, Box, Everything
from slow_ones import mostly_slow
from small_networks import exported, perceptron

NORMS = Norms("l2", "l2")


def box_of(count, lower, upper):
    ends = (torch.full((1, count), end, dtype=torch.float64) for end in (lower, upper))
    return Box(*({"x": end} for end in ends))


def last(problem):
    found = [each for each in enclosures(problem) if each is not None]
    for wider, narrower in itertools.pairwise(found):
        assert bool(narrower.within(wider).all())
    return found[-1] if found else None


@pytest.mark.parametrize("activation", [nn.ReLU(), nn.Tanh(), nn.SiLU()])
def test_cuts_make_it_as_small_as_the_outputs_are(activation):
    net = perceptron(activation, 2, 8, 8, 2, seed=2)
    graph = prepare(exported(net, (1, 2)), {"x": (1, 2)})
    found = last(Problem(graph, box_of(2, -1.0, 1.0), NORMS))
    axis = torch.linspace(-1.0, 1.0, 301, dtype=torch.float64)
    outputs = net.double()(torch.cartesian_prod(axis, axis)).detach()
    assert bool(found.contains(outputs).all())
    width = outputs.amax(0) - outputs.amin(0)
    assert bool((found.upper - found.lower <= 1.15 * width).all())


@pytest.mark.parametrize(
    "name",
    mostly_slow(REQUESTS, {"kan-formula", "vanderpol-node", "spiral-feedback", "burgers1d-fno"}),
)
def test_bundled_models(name):
    request = REQUESTS[name]
    graph = request.graph(name)
    region = Ball(request.centers(), request.radius, "linf")
    steps = enclosures(Problem(graph, region, NORMS))
    found = [each for each, _ in zip(steps, range(4), strict=False) if each is not None]
    assert found
    center = torch.cat([each.flatten() for each in request.centers().values()])
    generator = torch.Generator().manual_seed(0)
    noise = 2.0 * torch.rand(3, center.numel(), generator=generator, dtype=torch.float64) - 1.0
    outputs = Execution(graph).function()(center + request.radius * noise)
    slack = 1e-9 * (1.0 + outputs.abs().amax())
    for each in found:
        assert bool((outputs >= each.lower - slack).all())
        assert bool((outputs <= each.upper + slack).all())


def test_ends_of_trajectories():
    torch.manual_seed(0)
    field = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 2))
    graph = prepare(exported(field, (1, 2)), {"x": (1, 2)})
    flow = Flow(graph, 0.7)
    found = last(Problem(flow, box_of(2, 0.1, 0.3), NORMS))
    starts = 0.1 + 0.2 * torch.rand(100, 2, dtype=torch.float64)
    ends = FlowExecution(flow).function()(starts)
    assert bool(found.contains(ends).all())
    assert float((found.upper - found.lower).amax()) < 1.0


def test_of_everything_there_is_none():
    graph = prepare(exported(nn.Linear(3, 2), (1, 3)), {"x": (1, 3)})
    assert last(Problem(graph, Everything(), NORMS)) is None


def test_a_point_has_one_of_rounding_size():
    graph = prepare(exported(nn.Linear(3, 2), (1, 3)), {"x": (1, 3)})
    found = last(Problem(graph, box_of(3, 0.5, 0.5), NORMS))
    assert 0.0 <= float((found.upper - found.lower).amax()) < 1e-14
    assert math.isfinite(float(found.upper.sum()))

"""What a method claims, its evidence proves: at each step of a search, not only at the first."""

import itertools

import pytest
import torch
from torch import nn

from certisolve_server.certifier.errors import CertifierError, NotCertified
from certisolve_server.certifier.falsify import recheck_witness
from certisolve_server.certifier.graph.digest import digest
from certisolve_server.certifier.methods.method import Board, Bound
from certisolve_server.certifier.methods.registry import METHODS
from certisolve_server.certifier.norms import Norms
from certisolve_server.certifier.prepare import prepare
from certisolve_server.certifier.problem import Problem
from certisolve_server.certifier.region import Ball, Everything
from certisolve_server.certifier.verify import Claim, verify
from small_networks import exported, perceptron

CENTER = {"x": torch.tensor([[0.25, -0.5]], dtype=torch.float64)}


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
@pytest.mark.parametrize("norms", [("l2", "l2"), ("linf", "linf"), ("l1", "l2")])
@pytest.mark.parametrize("radius", [0.2, None])
def test_each_bound_of_a_search_is_proven_again(method, norms, radius):
    net = perceptron(nn.ReLU(), 2, 8, 2, seed=1)
    graph = prepare(exported(net, (1, 2)), {"x": (1, 2)})
    region = Everything() if radius is None else Ball(CENTER, radius, "linf")
    problem = Problem(graph, region, Norms(*norms))
    try:
        steps = list(itertools.islice(method.run(problem, Board()), 8))
    except CertifierError:
        return
    for bound in steps:
        if isinstance(bound, Bound):
            assert method.recheck(problem, bound.evidence) <= bound.upper


@pytest.mark.parametrize("evidence", [[], "norms", 1.0, {"cuts": 7}, {"trees": {}}, {"proof": []}])
@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_evidence_of_another_shape_proves_nothing(method, evidence):
    graph = prepare(exported(perceptron(nn.ReLU(), 2, 3, 2), (1, 2)), {"x": (1, 2)})
    problem = Problem(graph, Ball(CENTER, 0.2, "linf"), Norms("l2", "l2"))
    claim = Claim(digest(graph), method.name, 1e-3, evidence, None)
    with pytest.raises(NotCertified):
        verify(problem, claim, recheck_witness)

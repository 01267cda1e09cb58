"""Lower bounds of flows: attained by linear ones, and proven by tubes."""

import itertools
import math

import pytest
import torch
from torch import nn

from certisolve_server.certifier.errors import NotCertified
from certisolve_server.certifier.falsify import attack, recheck_witness
from certisolve_server.certifier.methods.method import Board
from certisolve_server.certifier.norms import NORMS, Norms
from certisolve_server.certifier.prepare import prepare
from certisolve_server.certifier.problem import Flow, Problem
from certisolve_server.certifier.region import Ball
from certisolve_server.certifier.witness import Witness
from small_networks import exported

_ORDERS = {"l1": 1, "l2": 2, "linf": math.inf}


def flow_of(field, duration):
    return Flow(prepare(exported(field, (1, 2)), {"x": (1, 2)}), duration)


def problem_of(flow, norm):
    center = {"x": torch.tensor([[0.2, -0.1]], dtype=torch.float64)}
    return Problem(flow, Ball(center, 0.5, "l2"), Norms(norm, norm))


def best(problem, slices=25):
    found = itertools.islice(attack(problem, 0, Board()), slices)
    return [each for each in found if each is not None][-1]


@pytest.mark.parametrize("norm", NORMS)
def test_a_linear_flow_is_the_exponential_of_its_matrix(norm):
    field = nn.Linear(2, 2)
    with torch.no_grad():
        field.weight.copy_(torch.tensor([[-0.5, 1.0], [-2.0, 0.25]]))
    exact = torch.linalg.matrix_exp(1.5 * field.weight.detach().double())
    expected = float(torch.linalg.matrix_norm(exact, _ORDERS[norm]))
    found = best(problem_of(flow_of(field, 1.5), norm))
    assert expected * (1 - 1e-3) <= found.lower <= expected * (1 + 1e-9)


@pytest.mark.slow
def test_a_neural_flow_has_a_witness_that_is_proven_again():
    torch.manual_seed(1)
    field = nn.Sequential(nn.Linear(2, 12), nn.Tanh(), nn.Linear(12, 2))
    problem = problem_of(flow_of(field, 1.0), "l2")
    found = best(problem)
    assert found.kind == "pair"
    assert found.lower > 0.5
    assert recheck_witness(problem, found) >= found.lower


def test_a_direction_proves_nothing_of_a_flow():
    problem = problem_of(flow_of(nn.Linear(2, 2), 1.0), "l2")
    point = {"x": torch.tensor([[0.2, -0.1]], dtype=torch.float64)}
    step = {"x": torch.tensor([[1e-3, 0.0]], dtype=torch.float64)}
    with pytest.raises(NotCertified, match="pair"):
        recheck_witness(problem, Witness("direction", point, step, 0.1))

"""Both bundled networks of splines are certified where they are served, and told of elsewhere."""

import time

import pytest
import torch

from certisolve_server.certifier.budget import Budget
from certisolve_server.certifier.falsify import recheck_witness
from certisolve_server.certifier.methods.mean_value import MeanValue
from certisolve_server.certifier.methods.splitting import Splitting
from certisolve_server.certifier.norms import Norms
from certisolve_server.certifier.portfolio import certify
from certisolve_server.certifier.prepare import prepare
from certisolve_server.certifier.problem import Problem
from certisolve_server.certifier.region import Box, Everything
from small_networks import bundled, in_float64

METHODS = (MeanValue(), Splitting())

#: The inputs of each, and the limits of its manifest.
SERVED = {
    "kan-formula": {"variables_0": (-1.0, 1.0), "variables_1": (-1.0, 1.0)},
    "kan-friction": {"reynolds": (4e3, 1e8), "roughness": (0.0, 0.05)},
}


def problem(name, ends, norms):
    graph = prepare(bundled(name), dict.fromkeys(ends, (1, 1)))
    lower, upper = (
        {key: torch.full((1, 1), pair[side], dtype=torch.float64) for key, pair in ends.items()}
        for side in (0, 1)
    )
    return Problem(graph, Box(lower, upper), norms)


def answer(asked, seconds=20.0, gap=1.1):
    *_, last = certify(asked, Budget(seconds, gap), time.process_time, methods=METHODS)
    return last


@pytest.mark.parametrize("name", SERVED)
def test_where_they_are_served_both_bounds_meet(name):
    asked = problem(name, SERVED[name], Norms("linf", "linf"))
    found = answer(asked)
    assert found.gap <= 1.1
    assert Splitting().recheck(asked, found.evidence) <= found.upper
    assert recheck_witness(asked, found.witness) >= found.lower


@pytest.mark.parametrize("center", [(0.3, 0.2), (-0.5, 0.7), (0.9, 0.9)])
@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_small_boxes_hold_sampled_gradients_and_little_more(center, norm):
    names = list(SERVED["kan-formula"])
    ends = {key: (at - 0.05, at + 0.05) for key, at in zip(names, center, strict=True)}
    found = answer(problem("kan-formula", ends, Norms(norm, norm)))
    generator = torch.Generator().manual_seed(0)
    part = torch.rand(2, 3000, generator=generator, dtype=torch.float64) * 0.1 - 0.05
    points = (torch.tensor(center, dtype=torch.float64)[:, None] + part).requires_grad_()
    output = in_float64(bundled("kan-formula"))(points[:1], points[1:])
    total = (output[0] if isinstance(output, tuple | list) else output).sum()
    (gradients,) = torch.autograd.grad(total, points)
    steepest = gradients.norm(1 if norm == "linf" else 2, dim=0).max().item()
    assert steepest <= found.upper * (1 + 1e-9)
    assert found.upper <= 1.1 * steepest
    assert found.gap <= 1.1


def test_of_all_numbers_there_is_a_bound_where_splines_end_in_zeros():
    graph = prepare(bundled("kan-formula"), dict.fromkeys(SERVED["kan-formula"], (1, 1)))
    found = answer(Problem(graph, Everything(), Norms("l2", "l2")), 1.0, 1.0)
    served = answer(problem("kan-formula", SERVED["kan-formula"], Norms("l2", "l2")))
    assert served.lower <= found.upper < 2000.0


def test_of_all_numbers_a_logarithm_has_none_and_is_named():
    graph = prepare(bundled("kan-friction"), dict.fromkeys(SERVED["kan-friction"], (1, 1)))
    found = answer(Problem(graph, Everything(), Norms("l2", "l2")), 1.0)
    assert found.status == "unbounded"
    assert "aten.log.default" in found.notes["mean_value"]

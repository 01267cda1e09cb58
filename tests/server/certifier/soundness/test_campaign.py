"""Sampled and attacked pairs of bundled models: none is steeper than any method's bound."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from all_bounds import all_bounds
from bundled_requests import REQUESTS
from certisolve_server.certifier.falsify.target import target_of
from certisolve_server.certifier.norms import Norms
from certisolve_server.certifier.problem import Problem
from certisolve_server.certifier.region import Ball, Everything
from refutation import ROUNDING, attacked, sampled, slopes
from slow_ones import mostly_slow

CAMPAIGN = Path(__file__).parents[4] / "benchmarks" / "soundness.py"

#: Whose bounds take a moment each.
SMALL = ["spiral-neural-feedback", "kan-formula", "vanderpol-node", "projectile-feedback"]


@pytest.mark.parametrize("name", mostly_slow(SMALL, {"kan-formula", "projectile-feedback"}))
@pytest.mark.parametrize("norms", [("l2", "l2"), ("linf", "linf")])
def test_no_pair_of_a_small_model_is_steeper_than_a_bound(name, norms):
    request = REQUESTS[name]
    graph = request.graph(name)
    for region in (Ball(request.centers(), 0.2, "l2"), Everything()):
        problem = Problem(graph, region, Norms(*norms))
        target, generator = target_of(problem), torch.Generator().manual_seed(0)
        pairs = [sampled(target, 1000, generator), *attacked(target, 20, 20, generator)]
        steepest = max(float(slopes(target, each).amax()) for each in pairs)
        for method, upper in all_bounds(problem, 3).items():
            assert steepest <= upper * ROUNDING, method


@pytest.mark.slow
@pytest.mark.timeout(4 * 3600)
def test_no_pair_of_a_hundred_thousand_refutes_a_certificate():
    ended = subprocess.run(
        [sys.executable, str(CAMPAIGN), "--pairs", "100000", "--seconds", "1"],
        check=False,
        capture_output=True,
    )
    assert ended.returncode == 0, ended.stdout.decode()[-2000:]

"""NaN and its kin, wherever numbers come in: nothing is certified with them."""

import copy
import itertools
import math
import sys

import pytest
import torch
from torch import nn

from all_bounds import lower_bound
from certisolve_server.certifier.arithmetic import Interval, NotABound
from certisolve_server.certifier.errors import CertifierError, InvalidRequest, NotCertified
from certisolve_server.certifier.falsify import recheck_witness
from certisolve_server.certifier.graph.digest import digest
from certisolve_server.certifier.methods.method import Board, Bound
from certisolve_server.certifier.methods.registry import METHODS
from certisolve_server.certifier.norms import Norms
from certisolve_server.certifier.prepare import prepare
from certisolve_server.certifier.problem import Flow, Problem
from certisolve_server.certifier.region import Ball, Box, Everything
from certisolve_server.certifier.verify import Claim, verify
from certisolve_server.certifier.witness import Witness
from small_networks import exported, perceptron

POISONS = (math.nan, math.inf, -math.inf)
L2 = Norms("l2", "l2")
NET = perceptron(nn.Tanh(), 2, 5, 4, 2, seed=3)
CENTER = {"x": torch.tensor([[0.25, -0.5]], dtype=torch.float64)}


def graph_of(net):
    return prepare(exported(net, (1, 2)), {"x": (1, 2)})


def bounded(problem):
    """What each method gives that gives anything."""
    found = {}
    for method in METHODS:
        try:
            steps = itertools.islice(method.run(problem, Board()), 5)
            bounds = [each for each in steps if isinstance(each, Bound)]
        except CertifierError:
            continue
        if bounds:
            found[method.name] = (method, bounds[-1])
    return found


@pytest.mark.parametrize("poison", POISONS)
@pytest.mark.parametrize("layer", [0, 2, 4])
@pytest.mark.parametrize("kind", ["weight", "bias"])
def test_in_weights(poison, layer, kind):
    net = copy.deepcopy(NET)
    with torch.no_grad():
        getattr(net[layer], kind).view(-1)[1] = poison
    with pytest.raises(NotCertified, match="constant"):
        graph_of(net)


@pytest.mark.parametrize("poison", POISONS)
def test_in_frozen_inputs(poison):
    program = exported(nn.Bilinear(2, 2, 2), (1, 2), (1, 2))
    with pytest.raises(CertifierError):
        prepare(program, {"x": (1, 2)}, {"y": torch.tensor([[0.5, poison]])})


@pytest.mark.parametrize("poison", POISONS)
def test_in_sets(poison):
    graph, broken = graph_of(NET), {"x": torch.tensor([[0.25, poison]], dtype=torch.float64)}
    with pytest.raises(InvalidRequest):
        Ball(CENTER, poison, "l2")
    with pytest.raises(InvalidRequest):
        Flow(graph, poison)
    for region in (Ball(broken, 0.1, "l2"), Box(broken, CENTER), Box(CENTER, broken)):
        problem = Problem(graph, region, L2)
        with pytest.raises(InvalidRequest):
            assert problem.boxes
        for method in METHODS:
            with pytest.raises(CertifierError):
                list(itertools.islice(method.run(problem, Board()), 8))


@pytest.mark.parametrize("poison", [math.nan, math.inf, 0.0, -1.0])
def test_in_weights_of_norms(poison):
    weights = torch.tensor([1.0, poison], dtype=torch.float64)
    with pytest.raises((InvalidRequest, NotABound)):
        Norms("l2", "l2", Interval.exact(weights))


@pytest.mark.parametrize("poison", POISONS)
def test_in_witnesses(poison):
    problem = Problem(graph_of(NET), Everything(), L2)
    broken = {"x": torch.tensor([[0.25, poison]], dtype=torch.float64)}
    for kind, x, other in (
        ("pair", broken, CENTER),
        ("pair", CENTER, broken),
        ("direction", broken, CENTER),
        ("direction", CENTER, broken),
    ):
        with pytest.raises(CertifierError):
            recheck_witness(problem, Witness(kind, x, other, 0.0))


def places(evidence, path=()):
    """The paths of everything in JSON that holds no other."""
    if isinstance(evidence, dict):
        inner = evidence.items()
    elif isinstance(evidence, list):
        inner = enumerate(evidence)
    else:
        return [path]
    return [found for key, value in inner for found in places(value, (*path, key))]


def replaced(evidence, path, value):
    changed = copy.deepcopy(evidence)
    inner = changed
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return changed


PROBLEMS = {
    "ball": Problem(graph_of(NET), Ball(CENTER, 0.5, "l2"), L2),
    "everything": Problem(graph_of(NET), Everything(), L2),
    "flow": Problem(Flow(graph_of(NET), 0.5), Ball(CENTER, 0.05, "l2"), L2),
}


@pytest.mark.parametrize("place", PROBLEMS)
def test_in_evidence(place):
    """Evidence that was changed proves nothing, or nothing below what is attained."""
    problem = PROBLEMS[place]
    attained = lower_bound(problem, 3)
    for method, bound in bounded(problem).values():
        evidence = _as_json(bound.evidence)
        paths = places(evidence)
        step = max(1, len(paths) // 4)
        poisons = (math.nan, math.inf, -1.0, 0.0, "x", None)
        for path, poison in itertools.product(paths[::step][:4], poisons):
            if not path:
                continue
            changed = replaced(evidence, path, poison)
            # Whatever is proven may be claimed.
            claim = Claim(digest(problem.graph), method.name, sys.float_info.max, changed, None)
            try:
                verified = verify(problem, claim, recheck_witness)
            except NotCertified:
                continue
            assert verified.upper >= attained, (method.name, path, poison)


def _as_json(evidence):
    if isinstance(evidence, dict) or hasattr(evidence, "items"):
        return {key: _as_json(value) for key, value in evidence.items()}
    if isinstance(evidence, list | tuple):
        return [_as_json(value) for value in evidence]
    return evidence


@pytest.mark.parametrize("place", ["ball", "everything"])
def test_bounds_are_proven_again_from_their_evidence(place):
    for name, (method, bound) in bounded(PROBLEMS[place]).items():
        assert method.recheck(PROBLEMS[place], _as_json(bound.evidence)) <= bound.upper, name

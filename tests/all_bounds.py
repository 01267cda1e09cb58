"""Every method's bounds of one problem, held against what may refute them."""

import itertools

import torch

from certisolve_server.certifier.errors import NotCertified, UnsupportedOperator
from certisolve_server.certifier.falsify import attack
from certisolve_server.certifier.falsify.target import target_of
from certisolve_server.certifier.methods.method import Board, Bound
from certisolve_server.certifier.methods.registry import METHODS
from certisolve_server.certifier.problem import Problem
from refutation import ROUNDING, sampled, slopes


def all_bounds(problem: Problem, slices: int = 4) -> dict[str, float]:
    """The least bound of each method after some slices."""
    found = {}
    for method in METHODS:
        try:
            steps = itertools.islice(method.run(problem, Board()), slices)
            bounds = [each for each in steps if isinstance(each, Bound)]
        except (NotCertified, UnsupportedOperator):
            continue
        if bounds:
            found[method.name] = min(bound.upper for bound in bounds)
    return found


def lower_bound(problem: Problem, slices: int = 12, seed: int = 0) -> float:
    """Of the attack, as far as it gets."""
    steps = itertools.islice(attack(problem, seed, Board()), slices)
    return max((each.lower for each in steps if each is not None), default=0.0)


def steepest_pair(problem: Problem, count: int = 200, seed: int = 0) -> float:
    """The largest slope of sampled pairs, far apart and close, in float64."""
    target = target_of(problem)
    pairs = sampled(target, count, torch.Generator().manual_seed(seed))
    return float(slopes(target, pairs).amax())


def assert_sound(problem: Problem, count: int = 200, slices: int = 4) -> dict[str, float]:
    """No sampled pair and no witness is steeper than any bound; returns the bounds."""
    bounds = all_bounds(problem, slices)
    steepest, attained = steepest_pair(problem, count), lower_bound(problem)
    for name, upper in bounds.items():
        assert steepest <= upper * ROUNDING + 1e-12, (name, steepest, upper)
        assert attained <= upper, (name, attained, upper)
    return bounds

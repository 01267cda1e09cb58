"""The search comes to the least bound that multipliers prove, by ever better ones, in time."""

import itertools
import time
import warnings

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

from certisolve_server.certifier.chains import Chain, bound, improving, recheck, verified_bound
from certisolve_server.certifier.chains.descent import descend
from certisolve_server.certifier.chains.eclipse import by_neuron, chosen, closed_form
from certisolve_server.certifier.chains.interior import solve
from certisolve_server.certifier.chains.program import program
from certisolve_server.certifier.chains.stages import stages
from chain_members import attained, plain, random, residual, slopes
from chain_programs import lipsdp
from slow_ones import mostly_slow


def to_the_end() -> bool:
    return True


def digits(*hidden: int) -> Chain:
    """A classifier of handwritten digits."""
    points, labels = load_digits(return_X_y=True)
    model = MLPClassifier(hidden, max_iter=30, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(points / 16.0, labels)
    maps = [torch.from_numpy(np.ascontiguousarray(weights.T)) for weights in model.coefs_]
    return Chain.of(maps, [slopes(size, 0.0, 1.0) for size in hidden])


@pytest.mark.parametrize("hidden", mostly_slow([(32,), (32, 32)], [(32,)]))
def test_classifiers_of_digits_are_bounded_as_by_a_general_solver(hidden):
    chain = digits(*hidden)
    start = time.process_time()
    upper = bound(chain, to_the_end).upper
    assert time.process_time() - start < 4.0
    assert attained(chain) <= upper <= lipsdp(chain) * 1.0001


@pytest.mark.parametrize("least", [0.0, -0.13, -1.0, 0.3])
@pytest.mark.parametrize("sizes", [(4, 10, 3), (3, 8, 8, 8, 1), (12, 4, 4, 9)])
def test_bounds_are_those_of_a_general_solver(sizes, least):
    chain = plain(sizes, least, 1.0, seed=3)
    certificate = bound(chain, to_the_end)
    assert attained(chain) <= certificate.upper <= lipsdp(chain) * (1 + 1e-5)
    assert recheck(chain, certificate) <= certificate.upper


def deep(depth: int, width: int) -> Chain:
    """Of maps with norms between .4 and 1.8, as in the paper of ECLipsE."""
    numbers = np.random.RandomState(7 * width + 13 * depth)
    maps = []
    for inputs, outputs in itertools.pairwise([4] + [width] * (depth - 1) + [1]):
        norm = numbers.uniform(0.4, 1.8)
        weight = torch.from_numpy(numbers.randn(outputs, inputs))
        maps.append(weight * (norm / torch.linalg.matrix_norm(weight, 2)))
    return Chain.of(maps, [slopes(width, 0.0, 1.0)] * (depth - 1))


@pytest.mark.slow
def test_deep_networks_are_bounded_in_windows_far_below_the_closed_form():
    chain = deep(16, 32)
    proven = [found.upper for found in improving(chain) if found is not None]
    assert proven == sorted(proven, reverse=True)
    assert proven[-1] < verified_bound(chain, closed_form(chain)) / 4
    assert proven[-1] >= attained(chain, 50)


def test_deep_residual_networks_are_bounded_in_windows_too(monkeypatch):
    monkeypatch.setattr("certisolve_server.certifier.chains.search._PASSES", ((40, 0.1),))
    monkeypatch.setattr("certisolve_server.certifier.chains.search._LARGEST_WHOLE", 0)
    chain = residual(6, 8, 8, 0.0, 1.0, seed=4)
    certificate = bound(chain, to_the_end)
    assert certificate.method == "lipsdp"
    assert attained(chain) <= certificate.upper < verified_bound(chain, closed_form(chain))
    assert recheck(chain, certificate) <= certificate.upper


def test_descent_comes_close_to_the_best_multipliers():
    chain = plain((4, 12, 12, 3), -0.1, 1.0)
    layers = stages(chain)
    *_, last = (
        found
        for found in descend(layers, chain.centers[-1], chosen(layers, by_neuron)[0])
        if found is not None
    )
    assert verified_bound(chain, last) <= bound(chain, to_the_end).upper * 1.01


def test_costs_are_above_what_the_weights_prove_and_come_down_to_it():
    chain = plain((3, 8, 8, 2), 0.0, 1.0)
    layers, last = stages(chain), chain.centers[-1]
    start, _ = chosen(layers, by_neuron, 1.1)
    posed = program(layers, last)
    scale = torch.full((1,), 100.0, dtype=torch.float64)
    weights = torch.cat([scale, *(100.0 * own for own in start), scale])
    costs = []
    for found in solve(posed, weights, 1e-6):
        if found is not None:
            first, own, _ = posed.parts(found)
            costs.append(float(posed.cost @ found))
            proven = verified_bound(chain, [each / first for each in own])
            assert proven <= costs[-1] * (1 + 1e-6)
    assert costs[-1] == pytest.approx(lipsdp(chain), rel=1e-5)


def test_multipliers_of_a_similar_chain_are_a_good_start():
    chain = plain((4, 20, 20, 3), 0.0, 1.0)
    found = bound(chain, to_the_end)
    nearby = Chain.of(
        [a.lower * (1 + 1e-3 * random(*a.shape, seed=5)) for a in chain.maps], chain.slopes
    )
    best = bound(nearby, to_the_end).upper
    inside = tuple(0.95 * own for own in found.multipliers)
    warm = list(itertools.islice((f for f in improving(nearby, inside) if f is not None), 2))
    assert warm[-1].upper <= best * 1.05
    assert recheck(nearby, warm[-1]) <= warm[-1].upper


def test_bounds_only_fall_and_each_is_proven():
    chain = plain((5, 16, 16, 16, 2), -0.1, 1.1)
    proven = [found for found in improving(chain) if found is not None]
    assert [found.upper for found in proven] == sorted((f.upper for f in proven), reverse=True)
    for found in proven:
        assert recheck(chain, found) <= found.upper


def test_slices_of_the_search_are_short():
    chain = plain((30, 60, 60, 10), 0.0, 1.0)
    longest, last = 0.0, time.process_time()
    for _ in improving(chain):
        now = time.process_time()
        longest, last = max(longest, now - last), now
    assert longest < 0.5

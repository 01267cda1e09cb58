"""Bounds by norms of errors are those by intervals, but quicker, and never below them in truth."""

import cvxpy
import numpy as np
import pytest
import torch

from certisolve_server.certifier.chains import Chain, Slopes, UnverifiedMultipliers, verified_bound
from certisolve_server.certifier.chains.blocks import gains_of, search_blocks
from certisolve_server.certifier.chains.eclipse import closed_form
from certisolve_server.certifier.chains.normwise import normwise_bound
from certisolve_server.certifier.chains.stages import stages
from certisolve_server.certifier.functions.registry import find


def random(*shape: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def plain(blocks: int, width: int, depth: int, function: str) -> Chain:
    maps = [random(blocks, width, width, seed=k) / width**0.5 for k in range(depth)]
    slopes = [Slopes.of(find(function), width)] * depth
    return Chain.of([*maps, random(2, width, seed=99)], slopes)


def residual(blocks: int, width: int, depth: int) -> Chain:
    maps = [random(blocks, width, width, seed=k) / width**0.5 for k in range(depth)]
    mixes = [random(width, width, seed=50 + k) / width for k in range(depth)]
    skips = [torch.eye(width, dtype=torch.float64)] * depth
    slopes = [Slopes.of(find("gelu_erf"), width)] * depth
    return Chain.of([*maps, random(1, width, seed=99)], slopes, skips, mixes)


CHAINS = {
    "gelu": lambda: plain(5, 6, 3, "gelu_erf"),
    "tanh": lambda: plain(4, 5, 2, "tanh"),
    "relu": lambda: plain(1, 8, 4, "relu"),
    "abs": lambda: plain(3, 4, 2, "abs"),
    "residual": lambda: residual(4, 5, 3),
}


@pytest.mark.parametrize("name", CHAINS)
def test_the_bound_is_that_of_intervals(name):
    chain = CHAINS[name]()
    for scale in (0.3, 0.9):
        chosen = [scale * own for own in closed_form(chain)]
        assert normwise_bound(chain, chosen) == pytest.approx(
            verified_bound(chain, chosen), rel=1e-9
        )


@pytest.mark.parametrize("name", CHAINS)
def test_no_member_of_the_chain_exceeds_it(name):
    chain = CHAINS[name]()
    upper = normwise_bound(chain, closed_form(chain))
    generator = torch.Generator().manual_seed(0)
    for _ in range(200):
        state = torch.eye(chain.maps[0].shape[-1], dtype=torch.float64)
        for layer, slopes in enumerate(chain.slopes):
            part = torch.rand(slopes.neurons, generator=generator, dtype=torch.float64).round()
            diagonal = slopes.least + part * (slopes.most - slopes.least)
            values = diagonal[:, None] * (chain.centers[layer] @ state)
            skip, mix = chain.skip(layer), chain.mix(layer)
            values = values if mix is None else mix.lower @ values
            state = values if skip is None else values + skip.lower @ state
        gains = torch.linalg.matrix_norm(chain.centers[-1] @ state, 2)
        assert float(gains.max()) <= upper


def test_multipliers_that_prove_nothing_are_refused():
    chain = CHAINS["gelu"]()
    chosen = closed_form(chain)
    with pytest.raises(UnverifiedMultipliers):
        normwise_bound(chain, [1e3 * own for own in chosen])
    for wrong in (0.0, -1.0, float("nan"), float("inf")):
        broken = [torch.full_like(own, wrong) for own in chosen]
        with pytest.raises(UnverifiedMultipliers):
            normwise_bound(chain, broken)
    with pytest.raises(UnverifiedMultipliers):
        normwise_bound(chain, chosen[:-1])


def test_the_search_over_few_blocks_is_feasible_for_all_and_better():
    chain = plain(30, 5, 3, "gelu_erf")
    layers, last = stages(chain), chain.centers[-1]
    first = float(gains_of(layers, last, closed_form(chain)).max())
    best = first
    for found in search_blocks(chain):
        if found is not None:
            gain = float(gains_of(layers, last, found).max())
            assert gain < best
            best = gain
            assert normwise_bound(chain, found) == pytest.approx(gain**0.5, rel=1e-6)
    assert best < 0.9 * first


def semidefinite(chain: Chain) -> float:
    """The best bound that any multipliers prove, by a solver for semidefinite programs.

    For all x and h: rho |x|^2 - |A_L h|^2 >= sum of (h - alpha z)^T diag(lambda) (beta z - h).
    """
    sizes = [chain.maps[0].shape[-1], *(a.shape[-2] for a in chain.maps[:-1])]
    ends = np.cumsum(sizes)
    rho = cvxpy.Variable()
    multipliers = [cvxpy.Variable(slopes.neurons, nonneg=True) for slopes in chain.slopes]
    constraints = []
    for block in range(chain.maps[0].shape[0]):
        identity = np.eye(int(ends[-1]))
        parts = [identity[end - size : end] for end, size in zip(ends, sizes, strict=True)]
        last = chain.centers[-1].numpy() @ parts[-1]
        total = rho * parts[0].T @ parts[0] - last.T @ last
        for layer, own in enumerate(multipliers):
            slopes = chain.slopes[layer]
            z = chain.centers[layer][block].numpy() @ parts[layer]
            left = parts[layer + 1] - slopes.least.numpy()[:, None] * z
            right = slopes.most.numpy()[:, None] * z - parts[layer + 1]
            for neuron in range(slopes.neurons):
                product = np.outer(left[neuron], right[neuron])
                total = total - own[neuron] * (product + product.T) / 2
        constraints.append(total >> 0)
    problem = cvxpy.Problem(cvxpy.Minimize(rho), constraints)
    problem.solve(solver=cvxpy.CLARABEL)
    return float(rho.value) ** 0.5


def test_the_search_ends_near_the_best_that_multipliers_prove():
    chain = plain(14, 3, 2, "gelu_erf")
    best = semidefinite(chain)
    found = [each for each in search_blocks(chain) if each is not None]
    upper = normwise_bound(chain, found[-1])
    assert best * (1 - 1e-4) <= upper <= 1.01 * best

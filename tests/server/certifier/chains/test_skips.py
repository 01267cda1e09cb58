"""Chains with skips are bounded as sharply as by a general solver, and never too low."""

import pytest
import torch

from certisolve_server.certifier.chains import Chain, Slopes, bound, recheck, verified_bound
from certisolve_server.certifier.chains.eclipse import closed_form
from certisolve_server.certifier.chains.norms import liplt_bound, product_bound
from certisolve_server.certifier.errors import InvalidRequest
from chain_members import attained, maps_of, plain, random, residual, slopes
from chain_programs import lipsdp

RANGES = {"relu": (0.0, 1.0), "silu": (-0.1, 1.1), "sin": (-1.0, 1.0), "steep": (0.5, 3.0)}


def to_the_end() -> bool:
    return True


@pytest.mark.parametrize("name", RANGES)
@pytest.mark.parametrize("shape", [(4, 6, 1), (3, 5, 2), (5, 4, 4)])
def test_residual_blocks_are_bounded_as_by_a_general_solver(name, shape):
    chain = residual(*shape, *RANGES[name], seed=1)
    certificate = bound(chain, to_the_end)
    assert attained(chain) * (1 - 1e-12) <= certificate.upper <= lipsdp(chain) * (1 + 1e-4)
    assert recheck(chain, certificate) <= certificate.upper
    norms = float(product_bound(chain)), float(liplt_bound(chain))
    assert certificate.upper <= min(norms) * (1 + 1e-9)
    assert min(norms) >= attained(chain)


@pytest.mark.parametrize("name", RANGES)
def test_skips_that_are_zero_and_mixes_that_are_one_change_nothing(name):
    chain = plain((3, 6, 5, 2), *RANGES[name])
    zeros = [torch.zeros(6, 3, dtype=torch.float64), torch.zeros(5, 6, dtype=torch.float64)]
    ones = [torch.eye(6, dtype=torch.float64), torch.eye(5, dtype=torch.float64)]
    spelled = Chain.of([a.lower for a in chain.maps], chain.slopes, zeros, ones)
    chosen = closed_form(chain)
    assert verified_bound(spelled, chosen) == pytest.approx(
        verified_bound(chain, chosen), rel=1e-12
    )
    assert float(product_bound(spelled)) >= float(product_bound(chain)) * (1 - 1e-12)
    assert float(liplt_bound(spelled)) == pytest.approx(float(liplt_bound(chain)), rel=1e-9)


def test_a_graph_whose_layers_see_all_earlier_ones_is_a_chain_of_what_they_see():
    """Dense connections: h_i = (h_{i-1}, f(A h_{i-1})), so h_i has more numbers than rank."""
    sizes, maps, skips, mixes = 3, [], [], []
    for k in range(3):
        maps.append(random(4, sizes, seed=k) / sizes**0.5)
        skips.append(torch.eye(sizes + 4, sizes, dtype=torch.float64))
        mixes.append(torch.eye(sizes + 4, dtype=torch.float64)[:, sizes:])
        sizes += 4
    chain = Chain.of([*maps, random(2, sizes, seed=9)], [slopes(4, 0.0, 1.0)] * 3, skips, mixes)
    certificate = bound(chain, to_the_end)
    assert attained(chain) <= certificate.upper <= lipsdp(chain) * (1 + 1e-4)


def test_no_pair_of_points_of_a_residual_network_exceeds_the_bound():
    chain = residual(4, 8, 3, 0.0, 1.0, seed=3)
    upper = bound(chain, to_the_end).upper

    def network(x: torch.Tensor) -> torch.Tensor:
        for layer in range(3):
            a, skip, mix = chain.maps[layer], chain.skip(layer), chain.mix(layer)
            x = x @ skip.lower.mT + torch.relu(x @ a.lower.mT + 0.3) @ mix.lower.mT
        return x @ chain.maps[-1].lower.mT

    x, step = 2 * random(4000, 4, seed=5), random(4000, 4, seed=6)
    for size in (1e-3, 0.3, 3.0):
        y = x + size * step
        ratios = (network(x) - network(y)).norm(dim=1) / (x - y).norm(dim=1)
        assert float(ratios.max()) <= upper


def test_neurons_of_one_slope_are_part_of_the_maps():
    maps = maps_of((3, 6, 6, 2))
    stable = torch.tensor([1.0, 0.0, 1.0, 0.0, 0.0, 1.0], dtype=torch.float64)
    bent = torch.tensor([False, False, False, True, True, False])
    local = Slopes(torch.where(bent, 0.0, stable), torch.where(bent, 1.0, stable))
    chain = Chain.of(maps, [local, slopes(6, 0.0, 1.0)])
    linear = torch.diag(torch.where(bent, 0.0, stable))
    merged = Chain.of(
        [maps[0][bent], maps[1], maps[2]],
        [slopes(2, 0.0, 1.0), slopes(6, 0.0, 1.0)],
        [linear @ maps[0], None],
        [torch.eye(6, dtype=torch.float64)[:, bent], None],
    )
    mine, other = bound(chain, to_the_end).upper, bound(merged, to_the_end).upper
    assert mine == pytest.approx(other, rel=1e-5)
    assert attained(chain) <= mine <= lipsdp(merged) * (1 + 1e-4)


def test_a_chain_of_only_linear_neurons_is_bounded_by_the_norm_of_its_product():
    maps = maps_of((3, 6, 6, 2))
    ones = slopes(6, 1.0, 1.0)
    exact = float(torch.linalg.matrix_norm(maps[2] @ maps[1] @ maps[0], 2))
    assert exact <= bound(Chain.of(maps, [ones, ones]), to_the_end).upper <= exact * (1 + 1e-9)


def test_shapes_that_do_not_fit_are_refused():
    maps, layer = maps_of((3, 6, 2)), [slopes(6, 0.0, 1.0)]
    for skip, mix in (
        (random(5, 3), None),
        (random(6, 4), None),
        (None, random(6, 5)),
        (random(6, 3), random(5, 6)),
    ):
        with pytest.raises(InvalidRequest):
            Chain.of(maps, layer, [skip], [mix])
    with pytest.raises(InvalidRequest):
        Chain.of(maps, layer, [None, None])

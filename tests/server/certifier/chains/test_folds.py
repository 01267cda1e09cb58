"""Chains with MaxMin, GroupSort and Householder's functions are bounded as published, or better."""

import pytest
import torch

from certisolve_server.certifier.chains import (
    Chain,
    Folding,
    UnverifiedMultipliers,
    bound,
    recheck,
    verified_bound,
)
from certisolve_server.certifier.chains.eclipse import closed_form
from certisolve_server.certifier.chains.norms import liplt_bound, product_bound
from certisolve_server.certifier.errors import InvalidRequest
from chain_members import attained, folded, jacobian, maps_of, random, slopes
from chain_programs import folds


def to_the_end() -> bool:
    return True


@pytest.mark.parametrize("group", [2, 4])
@pytest.mark.parametrize("sizes", [(2, 8, 2), (3, 8, 8, 2), (4, 8, 12, 8, 8, 1)])
def test_sorted_groups_are_bounded_as_by_a_general_solver(sizes, group):
    chain = folded(sizes, group)
    certificate = bound(chain, to_the_end)
    assert attained(chain) * (1 - 1e-12) <= certificate.upper
    assert certificate.upper == pytest.approx(folds(chain), rel=1e-4)
    assert recheck(chain, certificate) <= certificate.upper
    assert attained(chain) <= min(float(product_bound(chain)), float(liplt_bound(chain)))


@pytest.mark.parametrize("seed", range(3))
def test_any_multipliers_of_folds_that_are_verified_prove_a_bound(seed):
    chain = folded((3, 8, 8, 2), 2, seed)
    least = attained(chain)
    for scale in (0.01, 0.3, 1.0):
        tried = tuple(
            scale * m * random(m.numel(), seed=seed + 50).exp() for m in closed_form(chain)
        )
        try:
            assert verified_bound(chain, tried) >= least
        except UnverifiedMultipliers:
            continue


def test_isometries_with_sorted_pairs_between_have_the_constant_one():
    """Written as a residual rectifier, MaxMin is certified with root two for each layer only."""
    maps = [torch.linalg.qr(random(8, 8, seed=k))[0] for k in range(5)]
    chain = Chain.of(maps, [Folding.group_sort(8, 2)] * 4)
    assert 1.0 <= bound(chain, to_the_end).upper <= 1.0 + 1e-6


@pytest.mark.parametrize("group", [2, 3])
def test_no_pair_of_points_exceeds_the_bound(group):
    sizes = (3, 12, 12, 2)
    chain = folded(sizes, group, seed=4)
    upper = bound(chain, to_the_end).upper

    def network(x: torch.Tensor) -> torch.Tensor:
        for a in chain.maps[:-1]:
            z = x @ a.lower.mT + 0.1
            x = z.unflatten(-1, (-1, group)).sort(-1).values.flatten(-2)
        return x @ chain.maps[-1].lower.mT

    x, step = 2 * random(4000, 3, seed=5), random(4000, 3, seed=6)
    for size in (1e-3, 0.3, 3.0):
        y = x + size * step
        ratios = (network(x) - network(y)).norm(dim=1) / (x - y).norm(dim=1)
        assert float(ratios.max()) <= upper


def test_functions_of_householder_are_bounded_too():
    directions = random(4, 3, seed=8)
    maps = maps_of((3, 12, 12, 2))
    chain = Chain.of(maps, [Folding.householder(directions)] * 2)
    upper = bound(chain, to_the_end).upper
    assert attained(chain) <= upper <= float(product_bound(chain)) * (1 + 1e-9)
    assert upper < 0.99 * float(product_bound(chain))

    def network(x: torch.Tensor) -> torch.Tensor:
        for a in maps[:-1]:
            z = (x @ a.mT).unflatten(-1, (4, 3))
            along = (z * directions).sum(-1, keepdim=True)
            mirrored = z - 2 * along * directions / directions.square().sum(-1, keepdim=True)
            x = torch.where(along > 0, z, mirrored).flatten(-2)
        return x @ maps[-1].mT

    x = 2 * random(4000, 3, seed=5)
    y = x + 0.5 * random(4000, 3, seed=6)
    ratios = (network(x) - network(y)).norm(dim=1) / (x - y).norm(dim=1)
    assert float(ratios.max()) <= upper


def test_a_direction_of_any_length_is_the_same_fold():
    maps, direction = maps_of((3, 4, 2)), random(2, 2, seed=3)
    one = Chain.of(maps, [Folding.householder(direction)])
    other = Chain.of(maps, [Folding.householder(direction * 2.0**-300)])
    assert bound(one, to_the_end).upper == pytest.approx(bound(other, to_the_end).upper, rel=1e-6)


def test_pairs_are_folded_the_same_by_both_names():
    maps = maps_of((3, 4, 4, 2))
    mirror = torch.tensor([[1.0, -1.0]] * 2, dtype=torch.float64)
    sorting = Chain.of(maps, [Folding.group_sort(4, 2)] * 2)
    mirrored = Chain.of(maps, [Folding.householder(mirror)] * 2)
    assert bound(sorting, to_the_end).upper == pytest.approx(
        bound(mirrored, to_the_end).upper, rel=1e-5
    )


@pytest.mark.parametrize("gain", [1e-4, 1.0, 30.0])
def test_eighteen_layers_of_any_scale_are_bounded(gain):
    chain = folded((2, *([32] * 17), 2), 2, seed=2)
    scaled = Chain.of([a.lower * gain for a in chain.maps], chain.slopes)
    upper, product = bound(scaled, to_the_end).upper, float(product_bound(scaled))
    generator = torch.Generator().manual_seed(0)
    least = float(torch.linalg.matrix_norm(jacobian(scaled, generator), 2))
    assert least <= upper < product / 3


def test_folds_and_slopes_may_follow_each_other():
    maps = maps_of((3, 8, 8, 8, 2))
    layers = [Folding.group_sort(8, 4), slopes(8, 0.0, 1.0), Folding.group_sort(8, 2)]
    skips = [None, torch.eye(8, dtype=torch.float64), random(8, 8, seed=5) / 4]
    chain = Chain.of(maps, layers, skips, [None] * 3)
    certificate = bound(chain, to_the_end)
    assert attained(chain) <= certificate.upper <= float(product_bound(chain)) * (1 + 1e-9)
    assert certificate.method == "lipsdp"


def test_groups_that_are_none_are_refused():
    with pytest.raises(InvalidRequest):
        Folding.group_sort(5, 2)
    with pytest.raises(InvalidRequest):
        Folding.householder(torch.zeros(1, 2, dtype=torch.float64))
    with pytest.raises(InvalidRequest):
        Folding.householder(torch.full((1, 2), float("nan"), dtype=torch.float64))

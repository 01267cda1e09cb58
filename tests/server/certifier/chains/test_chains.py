"""Bounds of chains are proven, are at least what networks attain, and near what is known."""

import dataclasses
import itertools
import math

import pytest
import torch

from certisolve_server.certifier.arithmetic import Interval
from certisolve_server.certifier.chains import (
    Chain,
    ChainCertificate,
    Slopes,
    UnverifiedMultipliers,
    bound,
    recheck,
    verified_bound,
)
from certisolve_server.certifier.chains.eclipse import closed_form, multipliers, one_for_all
from certisolve_server.certifier.chains.norms import liplt_bound, product_bound
from certisolve_server.certifier.errors import InvalidRequest, NotCertified
from certisolve_server.certifier.functions.registry import find

SLOPES = {
    "relu": (0.0, 1.0),
    "leaky": (0.2, 1.0),
    "gelu": (-0.129, 1.129),
    "sin": (-1.0, 1.0),
    "steep": (0.5, 3.0),
    "dead": (0.0, 0.0),
    "linear": (1.0, 1.0),
}


def steps(number: int):
    return iter([True] * number + [False] * 10_000).__next__


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def slopes(neurons: int, least: float, most: float) -> Slopes:
    ones = torch.ones(neurons, dtype=torch.float64)
    return Slopes(least * ones, most * ones)


def chain_of(sizes: tuple[int, ...], least: float, most: float, seed: int = 0) -> Chain:
    pairs = list(itertools.pairwise(sizes))
    maps = [random(b, a, seed=seed + k) / a**0.5 for k, (a, b) in enumerate(pairs)]
    return Chain.of(maps, [slopes(size, least, most) for size in sizes[1:-1]])


def attained(chain: Chain, tries: int = 400) -> float:
    """The largest norm of a Jacobian with slopes drawn anywhere in their ranges, ends mostly."""
    best = 0.0
    generator = torch.Generator().manual_seed(7)
    for _ in range(tries):
        jacobian = chain.maps[0].lower
        for a, layer in zip(chain.maps[1:], chain.slopes, strict=True):
            share = torch.rand(layer.neurons, generator=generator, dtype=torch.float64).round()
            jacobian = a.lower @ (torch.lerp(layer.least, layer.most, share)[:, None] * jacobian)
        best = max(best, float(torch.linalg.matrix_norm(jacobian, 2)))
    return best


@pytest.mark.parametrize("name", SLOPES)
@pytest.mark.parametrize("sizes", [(3, 5, 2), (4, 6, 6, 3), (2, 8, 3, 8, 1)])
def test_no_jacobian_exceeds_a_bound_however_it_is_proven(name, sizes):
    chain = chain_of(sizes, *SLOPES[name])
    least = attained(chain) * (1 - 1e-12)
    certificate = bound(chain, steps(30))
    fast = verified_bound(chain, closed_form(chain))
    assert min(float(product_bound(chain)), float(liplt_bound(chain)), fast) >= least
    assert least <= certificate.upper <= min(float(product_bound(chain)), fast) * (1 + 1e-9)
    assert recheck(chain, certificate) <= certificate.upper


@pytest.mark.parametrize("seed", range(5))
def test_any_multipliers_that_are_verified_prove_a_bound(seed):
    chain = chain_of((3, 6, 6, 2), -0.1, 1.1, seed)
    least = attained(chain, 100)
    for scale in (0.01, 0.3, 1.0):
        tried = tuple(
            scale * m * random(m.numel(), seed=seed + 50).exp() for m in closed_form(chain)
        )
        try:
            assert verified_bound(chain, tried) >= least
        except UnverifiedMultipliers:
            continue


def test_multipliers_that_prove_nothing_are_refused():
    chain = chain_of((3, 6, 6, 2), 0.0, 1.0)
    good = closed_form(chain)
    far = (good[0] * 1e6, good[1])
    for bad in (far, (good[0] * 0, good[1]), (good[0] * math.nan, good[1]), (-good[0], good[1])):
        with pytest.raises(UnverifiedMultipliers):
            verified_bound(chain, bad)
    with pytest.raises(InvalidRequest):
        verified_bound(chain, good[:1])


def test_a_certificate_that_claims_too_much_is_refused():
    chain = chain_of((3, 6, 6, 2), 0.0, 1.0)
    certificate = bound(chain, steps(20))
    with pytest.raises(NotCertified):
        recheck(chain, dataclasses.replace(certificate, upper=certificate.upper * (1 - 1e-9)))
    other = chain_of((3, 6, 6, 2), 0.0, 2.0)
    with pytest.raises(NotCertified):
        recheck(other, certificate)
    for nothing in (math.nan, math.inf, -1.0):
        with pytest.raises(NotCertified):
            ChainCertificate(nothing, "product")


def test_the_search_is_deterministic_and_gains():
    chain = chain_of((4, 20, 20, 20, 1), 0.0, 1.0)
    first, again = bound(chain, steps(60)), bound(chain, steps(60))
    assert first.upper == again.upper
    assert first.method == "lipsdp"
    assert first.upper < 0.9 * verified_bound(chain, multipliers(chain, one_for_all))
    assert first.upper >= attained(chain)


def test_one_neuron_is_bounded_as_sharply_as_can_be():
    for least, most in SLOPES.values():
        chain = Chain.of([torch.tensor([[3.0]]), torch.tensor([[-2.0]])], [slopes(1, least, most)])
        exact = 6 * max(abs(least), abs(most))
        assert exact <= bound(chain, steps(100)).upper <= exact * (1 + 2e-9) + 1e-300


def test_maps_without_functions_are_bounded_by_their_norm():
    chain = Chain.of([torch.diag(torch.tensor([3.0, -4.0]))], [])
    assert 4.0 <= bound(chain, steps(0)).upper <= 4.0 * (1 + 1e-9)


def test_slopes_of_functions_are_those_that_are_published():
    for name, least, most in (
        ("relu", 0.0, 1.0),
        ("gelu_erf", -0.1289041452, 1.1289041452),
        ("silu", -0.0998393201, 1.0998393201),
        ("sin", -1.0, 1.0),
    ):
        found = Slopes.of(find(name), 2)
        assert torch.allclose(found.least, torch.full((2,), least, dtype=torch.float64), atol=1e-9)
        assert torch.allclose(found.most, torch.full((2,), most, dtype=torch.float64), atol=1e-9)
    with pytest.raises(NotCertified):
        Slopes.of(find("exp"), 2)


@pytest.mark.parametrize("scale", [2.0**-300, 2.0**-60, 1.0, 2.0**60])
def test_scaling_the_network_scales_the_bound(scale):
    chain = chain_of((3, 6, 2), 0.0, 1.0)
    scaled = Chain.of([chain.maps[0], chain.maps[1] * scale], chain.slopes)
    chosen = closed_form(chain)
    ratio = verified_bound(scaled, chosen) / scale / verified_bound(chain, chosen)
    assert abs(ratio - 1) < 1e-12


def test_order_of_neurons_does_not_matter():
    chain = chain_of((3, 6, 6, 2), -0.1, 1.1)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    maps = [a.lower for a in chain.maps]
    other = Chain.of([maps[0][order], maps[1][:, order], maps[2]], chain.slopes)
    assert bound(other, steps(0)).upper == pytest.approx(bound(chain, steps(0)).upper, rel=1e-12)


def test_a_map_that_is_only_enclosed_is_bounded_at_its_worst():
    chain = chain_of((3, 6, 6, 2), 0.0, 1.0)
    wide = Chain(tuple(Interval.ball(a.lower, 1e-3) for a in chain.maps), chain.slopes)
    chosen = closed_form(chain)
    worst = Chain.of([a.upper for a in wide.maps], chain.slopes)
    assert verified_bound(wide, chosen) >= verified_bound(worst, chosen) * (1 - 1e-12)


def test_numbers_that_overflow_are_refused():
    chain = Chain.of(
        [
            torch.full((2, 2), 1e200, dtype=torch.float64),
            torch.full((2, 2), 1e200, dtype=torch.float64),
        ],
        [slopes(2, 0.0, 1.0)],
    )
    with pytest.raises(NotCertified):
        bound(chain, steps(5))
    with pytest.raises(NotCertified):
        Slopes(torch.tensor([math.nan]), torch.tensor([1.0]))


def sandwich(sizes: tuple[int, ...], gamma: float, seed: int) -> Chain:
    """A network of sandwich layers with slopes in [0, 1] (Wang and Manchester, ICML 2023).

    h' = sqrt 2 A^T Psi f(sqrt 2 Psi^-1 B h + b), A A^T + B B^T = I by the Cayley map; the last
    layer is linear, y = sqrt gamma B h. gamma is its Lipschitz constant at most.
    """
    maps: list[torch.Tensor] = []
    carried = torch.eye(sizes[0], dtype=torch.float64) * gamma**0.5
    for k, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
        a, b = cayley(
            random(outputs, outputs, seed=seed + 3 * k),
            random(inputs, outputs, seed=seed + 3 * k + 1),
        )
        if k == len(sizes) - 2:
            maps.append(gamma**0.5 * b @ carried)
            break
        psi = random(outputs, seed=seed + 3 * k + 2).exp()
        maps.append(2**0.5 * (b / psi[:, None]) @ carried)
        carried = 2**0.5 * a.mT * psi
    return Chain.of(maps, [slopes(size, 0.0, 1.0) for size in sizes[1:-1]])


def cayley(square: torch.Tensor, rest: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(A, B) with A A^T + B B^T = I, square and outputs x inputs."""
    identity = torch.eye(square.shape[0], dtype=torch.float64)
    z = square - square.mT + rest.mT @ rest
    inverse = torch.linalg.inv(identity + z)
    return (inverse @ (identity - z)).mT, (-2 * rest @ inverse).mT


@pytest.mark.parametrize("seed", [0, 100, 200])
@pytest.mark.parametrize("sizes", [(3, 8, 2), (5, 16, 16, 4), (8, 16, 16, 16, 16, 2)])
def test_sandwich_layers_are_bounded_by_the_constant_they_are_built_for(sizes, seed):
    gamma = 10.0
    chain = sandwich(sizes, gamma, seed)
    certificate = bound(chain, steps(400))
    assert attained(chain, 50) * (1 - 1e-12) <= certificate.upper <= gamma * (1 + 1e-6)
    assert float(product_bound(chain)) > gamma


def dissipation(chain: Chain, chosen: tuple[torch.Tensor, ...], gain: float) -> torch.Tensor:
    """gain^2 |x|^2 - |y|^2 - sum q_i as one matrix of (x, h_1, ..., h_{L-1})."""
    sizes = [a.shape[-1] for a in chain.maps]
    parts = list(torch.eye(sum(sizes), dtype=torch.float64).split(sizes))
    y = chain.maps[-1].lower @ parts[-1]
    total = gain**2 * parts[0].mT @ parts[0] - y.mT @ y
    for k, weights in enumerate(chosen):
        z, h = chain.maps[k].lower @ parts[k], parts[k + 1]
        alpha, beta = chain.slopes[k].least[:, None], chain.slopes[k].most[:, None]
        product = (h - alpha * z).mT @ (gain**2 * weights[:, None] * (beta * z - h))
        total = total - (product + product.mT) / 2
    return total


@pytest.mark.parametrize("name", ["relu", "leaky", "gelu", "steep"])
def test_bounds_are_those_of_the_whole_inequality_at_once(name):
    chain = chain_of((3, 6, 5, 2), *SLOPES[name])
    chosen = closed_form(chain)
    gain = verified_bound(chain, chosen)
    least = [
        float(torch.linalg.eigvalsh(dissipation(chain, chosen, gain * share)).min())
        for share in (1 + 1e-7, 1 - 1e-5)
    ]
    assert least[0] >= 0 > least[1]

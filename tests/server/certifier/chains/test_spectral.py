"""Fourier neural operators are bounded by their blocks as by the whole matrix, on all grids."""

import itertools
import math

import pytest
import torch

from certisolve_server.certifier.arithmetic import Interval
from certisolve_server.certifier.chains import (
    Chain,
    Slopes,
    bound,
    recheck,
    spectral_chain,
    verified_bound,
)
from certisolve_server.certifier.chains.eclipse import closed_form
from certisolve_server.certifier.chains.norms import product_bound
from certisolve_server.certifier.errors import InvalidRequest
from certisolve_server.certifier.functions.registry import find
from certisolve_server.certifier.operators import Spectral


def random(*shape: int, seed: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def layers(width: int, kept: int, depth: int, grid: tuple[int, ...]) -> list[Spectral]:
    """Random ones, the first with one input channel."""
    frequencies = list(itertools.product(*[range(kept)] * len(grid)))
    made = []
    for k in range(depth):
        weights = random(len(frequencies), width, width, seed=3 * k, dtype=torch.complex128)
        pointwise = random(width, width, seed=3 * k + 1)
        layer = Spectral.of_weights(weights / width**0.5, frequencies, grid)
        made.append(layer.plus_pointwise(Interval.exact(pointwise / width**0.5)))
    made[0] = made[0].after_pointwise(Interval.exact(random(width, 1, seed=98)))
    return made


def chain(width: int, kept: int, depth: int, grid: tuple[int, ...]) -> Chain:
    slopes = Slopes.of(find("gelu_erf"), width)
    last = Interval.exact(random(1, width, seed=99) / width**0.5)
    return spectral_chain(layers(width, kept, depth, grid), [slopes] * depth, last)


@pytest.mark.parametrize("grid", [(5,), (6,), (4, 4)])
def test_blocks_prove_what_the_whole_matrix_proves(grid):
    width, depth = 3, 2
    blocks = chain(width, 2, depth, grid)
    points = math.prod(grid)
    maps = [layer.matrix().midpoint_radius()[0] for layer in layers(width, 2, depth, grid)]
    last = torch.kron(random(1, width, seed=99) / width**0.5, torch.eye(points))
    gelu = Slopes.of(find("gelu_erf"), width)
    slopes = Slopes(gelu.least.repeat_interleave(points), gelu.most.repeat_interleave(points))
    whole = Chain.of([*maps, last], [slopes] * depth)
    for scale in (0.2, 1.0):
        chosen = [scale * m for m in closed_form(blocks)]
        everywhere = [m.repeat_interleave(points) for m in chosen]
        assert verified_bound(blocks, chosen) == pytest.approx(
            verified_bound(whole, everywhere), rel=1e-9
        )


def test_one_certificate_holds_on_all_grids():
    small = chain(4, 6, 2, (12,))
    certificate = bound(small, iter([True] * 20 + [False] * 99).__next__)
    for size in (256, 512, 1024):
        assert recheck(chain(4, 6, 2, (size,)), certificate) == recheck(small, certificate)


def test_no_pair_of_fields_exceeds_the_bound():
    width, kept, depth, n = 4, 3, 2, 16
    upper = bound(chain(width, kept, depth, (n,)), iter([True] * 60 + [False] * 99).__next__).upper
    maps = [layer.matrix().midpoint_radius()[0] for layer in layers(width, kept, depth, (n,))]
    last = torch.kron(random(1, width, seed=99) / width**0.5, torch.eye(n))

    def network(x: torch.Tensor) -> torch.Tensor:
        for a in maps:
            x = torch.nn.functional.gelu(x @ a.mT)
        return x @ last.mT

    attained = 0.0
    for seed in range(20):
        point = 3 * random(n, seed=seed)
        jacobian = torch.autograd.functional.jacobian(network, point)
        attained = max(attained, float(torch.linalg.matrix_norm(jacobian, 2)))
    assert attained <= upper
    assert upper < float(product_bound(chain(width, kept, depth, (n,)))) / 1.5


def test_layers_of_different_frequencies_make_no_chain():
    slopes = Slopes.of(find("gelu_erf"), 3)
    one, other = layers(3, 2, 1, (8,)), layers(3, 3, 1, (8,))
    with pytest.raises(InvalidRequest):
        spectral_chain([*one, *other], [slopes] * 2, Interval.exact(random(1, 3, seed=0)))

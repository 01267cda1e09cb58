"""Random chains, and Jacobians that functions of their slopes and folds can have."""

import itertools

import torch
from torch import Tensor

from certisolve_server.certifier.chains import Chain, Folding, Layer, Slopes


def random(*shape: int, seed: int = 0) -> Tensor:
    """Normal numbers in float64."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def slopes(neurons: int, least: float, most: float) -> Slopes:
    """The same range for all."""
    ones = torch.ones(neurons, dtype=torch.float64)
    return Slopes(least * ones, most * ones)


def maps_of(sizes: tuple[int, ...], seed: int = 0) -> list[Tensor]:
    """Random ones, of norms near 2."""
    pairs = enumerate(itertools.pairwise(sizes))
    return [random(b, a, seed=seed + k) / a**0.5 for k, (a, b) in pairs]


def plain(sizes: tuple[int, ...], least: float, most: float, seed: int = 0) -> Chain:
    """Maps with functions of these slopes between."""
    return Chain.of(maps_of(sizes, seed), [slopes(size, least, most) for size in sizes[1:-1]])


def residual(width: int, neurons: int, depth: int, least: float, most: float, seed: int) -> Chain:
    """Of blocks h + G f(A h), every other with a skip that is not the identity."""
    maps = [random(neurons, width, seed=seed + k) / width**0.5 for k in range(depth)]
    mixes = [random(width, neurons, seed=seed + 50 + k) / neurons**0.5 for k in range(depth)]
    skips = [
        torch.eye(width, dtype=torch.float64)
        if k % 2
        else random(width, width, seed=seed + 90 + k) / width**0.5
        for k in range(depth)
    ]
    last = random(2, width, seed=seed + 99)
    return Chain.of([*maps, last], [slopes(neurons, least, most)] * depth, skips, mixes)


def folded(sizes: tuple[int, ...], group: int, seed: int = 0) -> Chain:
    """Maps with groups that are sorted between."""
    layers = [Folding.group_sort(size, group) for size in sizes[1:-1]]
    return Chain.of(maps_of(sizes, seed), layers)


def jacobian(chain: Chain, generator: torch.Generator) -> Tensor:
    """One that the chain can have: slopes anywhere in their ranges, ends mostly, or folds."""
    path = torch.eye(chain.maps[0].shape[-1], dtype=torch.float64)
    for index, layer in enumerate(chain.slopes):
        through = _function(layer, generator) @ (chain.maps[index].lower @ path)
        mix, skip = chain.mix(index), chain.skip(index)
        through = through if mix is None else mix.lower @ through
        path = through if skip is None else through + skip.lower @ path
    return chain.maps[-1].lower @ path


def _function(layer: Layer, generator: torch.Generator) -> Tensor:
    if isinstance(layer, Slopes):
        share = torch.rand(layer.neurons, generator=generator, dtype=torch.float64).round()
        return torch.diag(torch.lerp(layer.least, layer.most, share))
    groups, size = layer.axes.shape
    blocks = []
    for axis in layer.axes:
        if bool((axis == axis[0]).all()):
            order = torch.randperm(size, generator=generator)
            blocks.append(torch.eye(size, dtype=torch.float64)[order])
        else:
            flip = float(torch.rand((), generator=generator).round())
            mirror = 2 * flip * torch.outer(axis, axis) / (axis @ axis)
            blocks.append(torch.eye(size, dtype=torch.float64) - mirror)
    assert len(blocks) == groups
    return torch.block_diag(*blocks)


def attained(chain: Chain, tries: int = 300, p: float = 2, q: float = 2) -> float:
    """The largest of the norms, from p to q, of such Jacobians; at most the constant."""
    generator = torch.Generator().manual_seed(7)
    return max(norm(jacobian(chain, generator), p, q) for _ in range(tries))


def norm(matrix: Tensor, p: float, q: float) -> float:
    """|M|_{p->q}, by the corners of the unit ball of p where that is what is exact."""
    infinity = float("inf")
    if (p, q) == (2, 2):
        return float(torch.linalg.matrix_norm(matrix, 2))
    if p == 1:
        return float(torch.linalg.vector_norm(matrix, q, dim=0).max())
    if q == infinity:
        return float(torch.linalg.vector_norm(matrix, {2: 2, infinity: 1}[p], dim=1).max())
    if p == infinity:
        return float(torch.linalg.vector_norm(matrix @ _signs(matrix.shape[1]), q, dim=0).max())
    return norm(matrix.mT, infinity, 2)


def _signs(number: int) -> Tensor:
    corners = itertools.product((-1.0, 1.0), repeat=number)
    return torch.tensor(list(corners), dtype=torch.float64).mT

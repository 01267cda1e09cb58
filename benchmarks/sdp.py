"""The best that multipliers can prove: by a general solver, and from below by points of the dual.

LipSDP (Fazlyab et al., 2019) looks for lambda >= 0 with, for all x and all v that stand for f(z),

    rho |x|^2 - |y|^2 >= sum_j lambda_j <v_j - alpha_j z_j, beta_j z_j - v_j>,

where z and y are the sums of x and v that they are in the network. That is linear in the products
of pairs, so it also holds where x_i and v_j are vectors. Choose v_j in the ball around
(alpha_j + beta_j) / 2 z_j with the radius (beta_j - alpha_j) / 2 |z_j|, and the right hand side is
not negative: no multipliers prove a bound below |y| / |x| (weak duality). With vectors of a few
entries the largest of these is the least bound (Burer and Monteiro, 2003).
"""

import copy
import itertools
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from certify_networks import GaussianFno, MaxMin, complex_weights
from torch import Tensor, nn

from certisolve_server.certifier.arithmetic import Interval
from certisolve_server.certifier.chains import Chain, Folding, Slopes, spectral_chain
from certisolve_server.certifier.functions.registry import find
from certisolve_server.certifier.operators import Spectral

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from chain_programs import folds, lipsdp

#: Entries of each vector, steps between two looks at the gain, and what they gain at least.
_RANK, _STEPS, _LEAST_GAIN = 8, 20, 1e-7

#: What a solver may leave where it is timed: it need not be better than what it is compared by.
_ROUGH = 1e-4


@dataclass(frozen=True)
class Solved:
    """The least bound by a solver with its own tolerances, and how long rough ones take it."""

    value: float
    seconds: float


def sorted_pairs(chain: Chain) -> Solved:
    """Of a chain with MaxMin between its maps (Pauli et al., 2024)."""
    value = folds(chain)
    start = time.perf_counter()
    folds(chain, tol_gap_rel=_ROUGH, tol_gap_abs=_ROUGH, tol_feas=_ROUGH)
    return Solved(value, time.perf_counter() - start)


def rectifiers(chain: Chain) -> float:
    """LipSDP by a solver."""
    return lipsdp(chain)


def floor(chain: Chain) -> float:
    """What no multipliers of the chain prove a bound below, up to the rounding of this sum."""
    generator = torch.Generator().manual_seed(0)
    blocks = max((a.shape[:-2] for a in chain.maps), key=len)
    sizes = [chain.maps[0].shape[-1], *(a.shape[-2] for a in chain.maps[:-1])]
    point = [
        torch.randn(*blocks, size, _RANK, generator=generator, dtype=torch.float64).requires_grad_()
        for size in sizes
    ]
    search = torch.optim.LBFGS(
        point, max_iter=_STEPS, history_size=30, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        search.zero_grad()
        loss = -_log_gain(chain, *point)
        loss.backward()
        return loss.detach()

    reached, last = -math.inf, -float(closure())
    while last > reached + _LEAST_GAIN:
        reached = last
        search.step(closure)
        last = -float(closure())
    return math.exp(last)


def _log_gain(chain: Chain, x: Tensor, *directions: Tensor) -> Tensor:
    """The logarithm of |y| / |x|, each v_j where a direction meets the rim of its ball."""
    h = x
    for a, slopes, direction in zip(chain.centers, chain.slopes, directions, strict=False):
        assert isinstance(slopes, Slopes)
        z = (a @ h).unflatten(-2, (chain.copies, slopes.neurons))
        toward = direction.unflatten(-2, (chain.copies, slopes.neurons))
        radius = (slopes.most - slopes.least) / 2 * _sizes(z) / _sizes(toward)
        center = (slopes.most + slopes.least) / 2
        h = (center[:, None] * z + radius[:, None] * toward).flatten(-3, -2)
    y = chain.centers[-1] @ h
    return (y.square().sum().log() - x.square().sum().log()) / 2


def _sizes(z: Tensor) -> Tensor:
    """Of each neuron, over all its blocks, copies and entries, (neurons,)."""
    return z.movedim(-2, 0).flatten(1).norm(dim=1)


def chain_of(net: nn.Sequential, inputs: int) -> Chain:
    """Affine layers, as many in a row as there are, with rectifiers or MaxMin between."""
    net = copy.deepcopy(net).double()
    ends = [i for i, layer in enumerate(net) if isinstance(layer, nn.ReLU | MaxMin)]
    runs = [net[a + 1 : b] for a, b in itertools.pairwise([-1, *ends, len(net)])]
    maps, x = [], torch.zeros(1, inputs, dtype=torch.float64)
    for run in runs:
        jacobian = torch.autograd.functional.jacobian(run, x)
        x = torch.zeros_like(run(x))
        maps.append(jacobian.reshape(x.numel(), -1))
    return _with(maps, [net[i] for i in ends])


def _with(maps: Sequence[Tensor], between: Sequence[nn.Module]) -> Chain:
    """MaxMin gives all maxima first, where a chain has the pairs side by side."""
    layers: list[Folding | Slopes] = []
    aligned = [maps[0]]
    for layer, before, after in zip(between, maps[:-1], maps[1:], strict=True):
        neurons = before.shape[0]
        if isinstance(layer, MaxMin):
            layers.append(Folding.group_sort(neurons, 2))
            pairs = torch.arange(neurons).view(2, -1).mT.flatten()
            aligned.append(after[:, pairs])
        else:
            layers.append(Slopes.of(find("relu"), neurons))
            aligned.append(after)
    return Chain.of(aligned, layers)


def spectral_chain_of(net: GaussianFno, points: int) -> Chain:
    """One block for each frequency of a periodic grid."""
    layers, last = spectral_parts(net, points)
    slopes = Slopes.of(find("gelu_erf"), net.project.in_features)
    return spectral_chain(layers, [slopes] * len(layers), last)


def spectral_parts(net: GaussianFno, points: int) -> tuple[list[Spectral], Interval]:
    """The layers, the lifting in the first, and the projection."""
    layers = []
    for modes, pointwise in zip(complex_weights(net), net.pointwise, strict=True):
        kept = [(k,) for k in range(len(modes))]
        layer = Spectral.of_weights(modes.to(torch.complex128), kept, (points,))
        layers.append(layer.plus_pointwise(_exact(pointwise)))
    layers[0] = layers[0].after_pointwise(_exact(net.lift))
    return layers, _exact(net.project)


def _exact(layer: nn.Linear) -> Interval:
    return Interval.exact(layer.weight.detach().double())

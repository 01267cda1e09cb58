"""The best that multipliers can prove: by a general solver, and from below by points of the dual.

LipSDP (Fazlyab et al., 2019) looks for lambda >= 0 with, for all x and all v that stand for f(z),

    rho |x|^2 - |y|^2 >= sum_j lambda_j <v_j - alpha_j z_j, beta_j z_j - v_j>,

where z and y are the sums of x and v that they are in the network. That is linear in the products
of pairs, so it also holds where x_i and v_j are vectors. Choose v_j in the ball around
(alpha_j + beta_j) / 2 z_j with the radius (beta_j - alpha_j) / 2 |z_j|, and the right hand side is
not negative: no multipliers prove a bound below |y| / |x| (weak duality). With vectors of a few
entries the largest of these is the least bound (Burer and Monteiro, 2003).
"""

import math
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from certisolve_server.certifier.chains import Chain, Slopes

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from chain_programs import folds
from chain_programs import lipsdp as lipsdp

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

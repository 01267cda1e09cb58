"""The search for weights in which differences grow slowly; what it finds is proven by `growth`."""

import math
from collections.abc import Callable, Generator

import torch
from torch import Tensor

from certisolve_server.certifier.arithmetic.norms import Norm
from certisolve_server.certifier.norms import NORMS, Norms

from .growth import Weights

_ITERATIONS = 60
_RATE = 0.15
#: Matrices that the search looks at; of more, some in equal distances.
_SAMPLES = 64


def search_weights(slopes: Tensor, duration: float, norms: Norms) -> Generator[None, None, Weights]:
    """Weights for each norm, by gradient on their logarithms; pauses between norms.

    Args:
        slopes: (N, n, n), one matrix per step, in plain floats.
        duration: T.
        norms: of the problem.
    """
    samples = slopes[:: max(1, len(slopes) // _SAMPLES)]
    found: dict[Norm, Tensor] = {}
    for norm in NORMS:
        found[norm] = _searched(samples, duration, norms, norm)
        yield
    return found


def _searched(samples: Tensor, duration: float, norms: Norms, norm: Norm) -> Tensor:
    size = samples.shape[-1]
    outside = [
        torch.ones(size, dtype=torch.float64) if each is None else each.midpoint_radius()[0]
        for each in (norms.input_weights, norms.output_weights)
    ]
    logarithms = outside[0].log().clone().requires_grad_()
    optimizer = torch.optim.Adam([logarithms], lr=_RATE)
    best, kept = math.inf, logarithms.detach().clone()
    for _ in range(_ITERATIONS):
        weights = logarithms.exp()
        rates = _RATES[norm](weights[:, None] * samples / weights)
        # Of the norms of identities the largest ratio is what matters to the search.
        cost = duration * rates.mean()
        cost = cost + (weights / outside[0]).amax().log() + (outside[1] / weights).amax().log()
        reached = float(cost.detach())
        if not math.isfinite(reached):
            break
        if reached < best:
            best, kept = reached, logarithms.detach().clone()
        [logarithms.grad] = torch.autograd.grad(cost, [logarithms])
        optimizer.step()
    return kept.exp()


def _euclidean(matrices: Tensor) -> Tensor:
    rates: Tensor = torch.linalg.eigvalsh(0.5 * (matrices + matrices.mT))[..., -1]
    return rates


def _by_rows(matrices: Tensor) -> Tensor:
    diagonal = torch.diagonal(matrices, dim1=-2, dim2=-1)
    return (diagonal + matrices.abs().sum(-1) - diagonal.abs()).amax(-1)


def _by_columns(matrices: Tensor) -> Tensor:
    return _by_rows(matrices.mT)


_RATES: dict[Norm, Callable[[Tensor], Tensor]] = {
    "l1": _by_columns,
    "l2": _euclidean,
    "linf": _by_rows,
}

"""The recursion of `verify` in plain floats: fast, with gradients, and no proof of anything."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from certisolve_server.certifier.arithmetic.rounding import Numbers

from .chain import Chain, Slopes


@dataclass(frozen=True)
class Infeasible:
    """A storage that is not positive definite, so that there is no bound."""


@dataclass(frozen=True)
class Gains:
    """What multipliers give.

    Args:
        squared: about the eigenvalues of A_L X^{-1} A_L^T, of which the largest is L^2; all blocks.
        volume: the sum of log det X_i / det Lambda_i, at most 0 where slopes have one sign, and
            falling to -inf at the edge of what is feasible; the mean over blocks.
    """

    squared: Numbers
    volume: Numbers


def gains(chain: Chain, multipliers: Sequence[Numbers]) -> Gains | Infeasible:
    """Of multipliers of each layer, (neurons,)."""
    x, volume = identity(chain), torch.zeros((), dtype=torch.float64)
    for a, slopes, weights in zip(chain.centers, chain.rows, multipliers, strict=False):
        rows = weights.repeat(chain.copies)
        following = schur_complement(x, a, slopes, rows)
        if isinstance(following, Infeasible):
            return following
        x = following
        factor, failed = torch.linalg.cholesky_ex(x)
        if bool(failed.any()):
            return Infeasible()
        log_det = 2.0 * factor.diagonal(dim1=-2, dim2=-1).log().sum(-1).mean()
        volume = volume + log_det - rows.log().sum()
    half = _whitened(x, chain.centers[-1].mT)
    if isinstance(half, Infeasible):
        return half
    small = half.mT @ half if half.shape[-1] <= half.shape[-2] else half @ half.mT
    if not bool(small.isfinite().all()):
        return Infeasible()
    return Gains(torch.linalg.eigvalsh(small).flatten(), volume)


def identity(chain: Chain) -> Numbers:
    """X_0."""
    return torch.eye(chain.maps[0].shape[-1], dtype=torch.float64)


def schur_complement(
    x: Numbers, a: Numbers, slopes: Slopes, weights: Numbers
) -> Numbers | Infeasible:
    """X_i of X_{i-1}."""
    alpha, beta = slopes.least, slopes.most
    if bool((alpha * beta).any()):
        x = x + a.mT @ ((alpha * beta * weights).unsqueeze(-1) * a)
    half = _whitened(x, a.mT * (0.5 * (alpha + beta) * weights))
    return half if isinstance(half, Infeasible) else torch.diag(weights) - half.mT @ half


def _whitened(x: Numbers, right: Numbers) -> Numbers | Infeasible:
    """R^{-T} B for X = R^T R."""
    factor, failed = torch.linalg.cholesky_ex(x)
    if bool(failed.any()):
        return Infeasible()
    whitened: Numbers = torch.linalg.solve_triangular(factor, right, upper=False)
    return whitened

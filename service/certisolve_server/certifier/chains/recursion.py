"""The recursion of `verify` in plain floats: fast, with gradients, and no proof of anything."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from certisolve_server.certifier.arithmetic.rounding import Numbers

from .chain import Chain, Slopes


@dataclass(frozen=True)
class Infeasible:
    """A storage that is not positive definite, so that there is no bound."""


def squared_gains(chain: Chain, multipliers: Sequence[Numbers]) -> Numbers | Infeasible:
    """About the eigenvalues of A_L X^{-1} A_L^T, of which the largest is L^2; all blocks, flat."""
    x = identity(chain)
    for a, slopes, weights in zip(chain.centers, chain.rows, multipliers, strict=False):
        following = schur_complement(x, a, slopes, weights.repeat(chain.copies))
        if isinstance(following, Infeasible):
            return following
        x = following
    half = _whitened(x, chain.centers[-1].mT)
    if isinstance(half, Infeasible):
        return half
    small = half.mT @ half if half.shape[-1] <= half.shape[-2] else half @ half.mT
    if not bool(small.isfinite().all()):
        return Infeasible()
    gains: Numbers = torch.linalg.eigvalsh(small).flatten()
    return gains


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

"""Bounds of a chain from norms alone: quick, and loose where layers work against each other."""

import torch

from certisolve_server.certifier.arithmetic import Interval, matmul, spectral_norm
from certisolve_server.certifier.arithmetic.rounding import Numbers, product_up, sum_up

from .chain import Chain


def product_bound(chain: Chain) -> Numbers:
    """The product of |A_i diag(cap)|_2 and the norm of the first map."""
    chain.require_plain()
    bound = _norm(chain.maps[0])
    for a, slopes in zip(chain.maps[1:], chain.rows, strict=True):
        bound = product_up(bound, _norm(a * slopes.cap))
    return bound


def liplt_bound(chain: Chain) -> Numbers:
    """LipLT (Fazlyab et al., NeurIPS 2023), with one spread for each neuron; O(L^2) norms.

    Each function is h = c z + r, c = (alpha + beta) / 2, |r| <= eta |z|, eta = (beta - alpha) / 2,
    of differences. With B_i = A_{i+1} diag(c_i) and m_j >= |z_j|, unrolling
    z_k = A_k h_{k-1} = B_{k-1} z_{k-1} + A_k r_{k-1} gives

        m_k = |B_{k-1} ... B_1 A_1| + sum_{j < k} |B_{k-1} ... B_{j+1} A_{j+1} diag(eta_j)| m_j.
    """
    chain.require_plain()
    centers, spreads = zip(*(_center_and_spread(s.least, s.most) for s in chain.rows), strict=True)
    bounds = [_norm(chain.maps[0])]
    # What the first input and each r_j have become in z_k.
    paths = [chain.maps[0]]
    for k, a in enumerate(chain.maps[1:]):
        carried = a * centers[k]
        paths = [matmul(carried, path) for path in paths] + [a * spreads[k]]
        bound = _norm(paths[0])
        for path, earlier in zip(paths[1:], bounds, strict=True):
            bound = sum_up(bound, product_up(_norm(path), earlier))
        bounds.append(bound)
    return bounds[-1]


def _center_and_spread(least: Numbers, most: Numbers) -> tuple[Interval, Interval]:
    alpha, beta = Interval.exact(least), Interval.exact(most)
    return (alpha + beta) * 0.5, (beta - alpha) * 0.5


def _norm(a: Interval) -> Numbers:
    """The largest of all blocks."""
    return torch.amax(spectral_norm(a))

"""Bounds of a chain from norms alone: quick, and loose where layers work against each other."""

from collections.abc import Generator

import torch

from certisolve_server.certifier.arithmetic import Interval, matmul, spectral_norm
from certisolve_server.certifier.arithmetic.rounding import Numbers, product_up, sum_up
from certisolve_server.certifier.slices import finished

from .chain import Chain


def product_bound(chain: Chain) -> Numbers:
    """The product of |A_i diag(cap)|_2 and the norm of the first map; sums where there are skips.

    m_i = (|S_i| + |G_i diag(cap_i)| |A_i|) m_{i-1} bounds |h_i|; where there is neither S_i nor
    G_i, the caps go to the maps that follow.
    """
    return finished(multiplying(chain))


def multiplying(chain: Chain) -> Generator[None, None, Numbers]:
    """`product_bound`, which stops for others after each layer."""
    bound = torch.ones((), dtype=torch.float64)
    pending: Numbers | None = None
    for layer, slopes in enumerate(chain.rows):
        skip, mix = chain.skip(layer), chain.mix(layer)
        through = _norm(_capped(chain.maps[layer], pending))
        yield
        if skip is not None or mix is not None:
            through = product_up(
                through, slopes.cap.max() if mix is None else _norm(mix * slopes.cap)
            )
        if skip is not None:
            through = sum_up(through, _norm(_capped(skip, pending)))
        pending = slopes.cap if skip is None and mix is None else None
        bound = product_up(bound, through)
    return product_up(bound, _norm(_capped(chain.maps[-1], pending)))


def liplt_bound(chain: Chain) -> Numbers:
    """LipLT (Fazlyab et al., NeurIPS 2023), with one spread for each neuron; O(L^2) norms.

    Each function is f = c z + r, |r| <= eta |z|, of differences, z_k = A_k h_{k-1}, and so
    h_k = M_k h_{k-1} + G_k r_k with M_k = S_k + G_k diag(c_k) A_k. Unrolled to the input h_0,

        |r_k| <= |V_k M_{k-1} ... M_1| + sum_{j < k} |V_k M_{k-1} ... M_{j+1} G_j| |r_j|,

    V = diag(eta) A, and the output y = A_L h_{L-1} likewise.
    """
    bounds = [torch.ones((), dtype=torch.float64)]
    # What the input and each r_j have become in h_k; None is the identity.
    paths: list[Interval | None] = [None]
    for layer, slopes in enumerate(chain.rows):
        center, spread = (part.rearranged(_as_column) for part in slopes.center_and_spread)
        a, skip, mix = chain.maps[layer], chain.skip(layer), chain.mix(layer)
        following = _total(spread * a, paths, bounds)
        carry = center * a if mix is None else matmul(mix, center * a)
        carry = carry if skip is None else carry + skip
        paths = [*(carry if path is None else matmul(carry, path) for path in paths), mix]
        bounds.append(following)
    return _total(chain.maps[-1], paths, bounds)


def _total(a: Interval, paths: list[Interval | None], bounds: list[Numbers]) -> Numbers:
    """At least |A h| from bounds of what the paths start from."""
    total = torch.zeros((), dtype=torch.float64)
    for path, bound in zip(paths, bounds, strict=True):
        total = sum_up(total, product_up(_norm(a if path is None else matmul(a, path)), bound))
    return total


def _capped(a: Interval, caps: Numbers | None) -> Interval:
    return a if caps is None else a * caps


def _as_column(ends: torch.Tensor) -> torch.Tensor:
    return ends.unsqueeze(-1)


def _norm(a: Interval) -> Numbers:
    """The largest of all blocks."""
    return torch.amax(spectral_norm(a))

"""Multipliers in closed form of all layers together, from norms of paths.

With r_0 the inputs, V_kj what r_j becomes in V_k h_{k-1} and Y_j what it becomes in the output,
LipLT (Fazlyab et al., NeurIPS 2023) bounds |r_k| by m_k and the constant by L:

    m_0 = 1,   m_k = sum over j < k of |V_kj| m_j,   L = sum over j of |Y_j| m_j.

By Cauchy and Schwarz |V_k h_{k-1}|^2 <= m_k sum_j |V_kj| |r_j|^2 / m_j, and the like holds of the
output. So with lambda_k = s_k / (m_k L^2) for all of a layer,

    s_k = L |Y_k| + sum over i > k of s_i |V_ik|,
    |y|^2 / L^2 + sum_k lambda_k (|V_k h_{k-1}|^2 - |r_k|^2) <= |x|^2,

the coefficients of each |r_j|^2 cancel and that of |x|^2 is 1: these multipliers prove what LipLT
does, or less. Where layers have skips or slopes around 0 that is far below what choices layer by
layer do.
"""

from collections.abc import Generator, Sequence

import torch

from certisolve_server.certifier.arithmetic.rounding import Numbers

from .stages import Stage

# Of m_k: how far inside of what is feasible.
_INSIDE = 1.0 + 2.0**-10

# Of the largest: what nothing reaches, and what reaches nothing, may have any multiplier.
_LEAST_SHARE = 2.0**-40

#: Of more layers, the norms of all paths take longer than a search.
MOST_LAYERS = 16

_SQUARINGS = 3


def by_paths(
    stages: Sequence[Stage], last: Numbers
) -> Generator[None, None, tuple[Numbers, ...] | None]:
    """Lambda of each layer; None of too many layers, or where norms are not finite.

    It stops for others after each layer.

    Args:
        stages: all layers of a chain.
        last: the map after them.
    """
    if not 0 < len(stages) <= MOST_LAYERS:
        return None
    count = len(stages)
    reaching = torch.zeros(count + 1, count + 1, dtype=torch.float64)
    paths: list[Numbers | None] = [None]
    for k, stage in enumerate(stages, start=1):
        for j, path in enumerate(paths):
            reaching[k, j] = _norm(_along(stage.reach, path))
        paths = [*(_along(stage.carry, path) for path in paths), stage.mix]
        yield
    output = torch.stack([_norm(_along(last, path)) for path in paths])
    sizes = torch.ones(count + 1, dtype=torch.float64)
    for k in range(1, count + 1):
        sizes[k] = _INSIDE * (reaching[k, :k] @ sizes[:k])
    sizes = sizes.clamp(min=float(sizes.max()) * _LEAST_SHARE)
    constant = _INSIDE * (output @ sizes)
    shares = torch.zeros(count + 1, dtype=torch.float64)
    for k in range(count, 0, -1):
        shares[k] = constant * output[k] + shares[k + 1 :] @ reaching[k + 1 :, k]
    shares = shares.clamp(min=float((shares * sizes).max()) * _LEAST_SHARE)
    weights = (shares / (sizes * constant.square()))[1:]
    if not bool((weights.isfinite() & (weights > 0)).all()):
        return None
    return tuple(
        torch.full((stage.multipliers,), float(weight), dtype=torch.float64)
        for stage, weight in zip(stages, weights, strict=True)
    )


def _along(a: Numbers, path: Numbers | None) -> Numbers:
    return a if path is None else a @ path


def _norm(a: Numbers) -> Numbers:
    """About the largest spectral norm of all blocks, hardly below it, by Gram iteration.

    |A|_2^16 = |(A A^T)^8|_2 <= |(A A^T)^8|_F (Delattre et al., ICML 2023).
    """
    if not a.numel():
        return torch.zeros((), dtype=torch.float64)
    power = a @ a.mT if a.shape[-2] <= a.shape[-1] else a.mT @ a
    exponent, size = 0.5, torch.zeros(a.shape[:-2], dtype=torch.float64)
    for squaring in range(_SQUARINGS + 1):
        length = torch.linalg.matrix_norm(power)
        size = size + exponent * length.log()
        power = power / length.clamp(min=torch.finfo(torch.float64).tiny)[..., None, None]
        if squaring < _SQUARINGS:
            power, exponent = power @ power, exponent / 2
    return size.exp().amax()

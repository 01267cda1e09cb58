"""The bound that given multipliers prove, with every rounding carried.

Write h_i for the difference of two values after layer i. For a function with slopes in
[alpha, beta] and any multipliers lambda >= 0, with z = A h_{i-1}, A = A_i, Lambda = diag(lambda),

    q_i = (h_i - alpha z)^T Lambda (beta z - h_i) >= 0      (Fazlyab et al., 2019, lemma 1).

So if X_0 = I and each h_i^T X_i h_i <= h_{i-1}^T X_{i-1} h_{i-1} - q_i for all h_{i-1}, h_i, then
|h_0|^2 >= h_{L-1}^T X_{L-1} h_{L-1}, and the constant of the network is at most
|A_L X_{L-1}^{-1/2}|_2. The largest X_i is the Schur complement (Xu and Sivaranjani, 2024,
theorem 2, there for slopes in [0, 1]):

    X' = X_{i-1} + A^T alpha beta Lambda A > 0
    X_i = Lambda - Lambda D A X'^{-1} A^T D Lambda,   D = diag(alpha + beta) / 2.

Every smaller X_i is allowed as well, and that is how rounding is paid for, layer by layer:

1. For any K with K^T X' K >= kept I, kept > 0, both K and X' are regular, and X'^{-1} is at most
   K K^T / kept. K is an approximate inverse of a Cholesky factor; kept comes from the enclosed
   K^T X' K - I by Gershgorin's theorem. How K was found does not matter.
2. Lambda - W W^T / kept with W = Lambda D A K is enclosed; X_i is its symmetric centre, less on the
   diagonal the sum of the errors of each row, so that the difference is diagonally dominant.
"""

from collections.abc import Sequence

import torch

from certisolve_server.certifier.arithmetic import (
    Interval,
    NotABound,
    einsum,
    matmul,
    spectral_norm,
)
from certisolve_server.certifier.arithmetic.rounding import (
    Numbers,
    down,
    library_down,
    sum_down,
    up,
)
from certisolve_server.certifier.arithmetic.sums import sum_of_sizes
from certisolve_server.certifier.errors import InvalidRequest, NotCertified

from .chain import Chain, Slopes


class UnverifiedMultipliers(NotCertified):
    """The inequality that these multipliers are to satisfy was not proven in float64."""


def verified_bound(chain: Chain, multipliers: Sequence[Numbers]) -> float:
    """At least the Lipschitz constant of the chain, l2 to l2, on the whole space.

    Args:
        chain: what is bounded.
        multipliers: lambda of each layer, (neurons,), above 0, taken as the floats they are.

    Raises:
        UnverifiedMultipliers: they prove nothing, or nothing that float64 can see.
    """
    chain.require_plain()
    _require_multipliers(chain, multipliers)
    try:
        bounds = _bounds(chain, [weights.repeat(chain.copies) for weights in multipliers])
    except NotABound as exc:
        raise UnverifiedMultipliers("numbers overflow") from exc
    # False of NaN.
    if not bool((bounds >= 0).all() & bounds.isfinite().all()):
        raise UnverifiedMultipliers("the bound is not finite")
    return float(bounds.max())


def _bounds(chain: Chain, multipliers: list[Numbers]) -> Numbers:
    """By block."""
    storage = Interval.exact(torch.eye(chain.maps[0].shape[-1], dtype=torch.float64))
    for layer, weights in enumerate(multipliers):
        storage = _next(storage, chain.maps[layer], chain.rows[layer], weights, layer)
    root, kept = _inverse_root(storage, len(multipliers))
    return up(spectral_norm(matmul(chain.maps[-1], root)) / library_down(kept.sqrt()))


def _next(x: Interval, a: Interval, slopes: Slopes, weights: Numbers, layer: int) -> Interval:
    """X_i, exact, of X_{i-1}; (..., rows, rows)."""
    alpha, beta = Interval.exact(slopes.least), Interval.exact(slopes.most)
    root, kept = _inverse_root(_with_slopes(x, a, alpha * beta * weights), layer)
    scale = (alpha + beta) * 0.5 * weights
    w = scale.rearranged(lambda ends: ends.unsqueeze(-1)) * matmul(a, root)
    product = matmul(w, w.rearranged(lambda ends: ends.mT))
    complement = torch.diag(weights) - product / kept[..., None, None]
    return Interval.exact(_symmetric_below(complement))


def _with_slopes(x: Interval, a: Interval, weights: Interval) -> Interval:
    """X' = X + A^T diag(weights) A."""
    if not bool(weights.magnitude.any()):
        return x
    scaled = weights.rearranged(lambda ends: ends.unsqueeze(-1)) * a
    return x + einsum("...ki,...kj->...ij", a, scaled)


def _inverse_root(x: Interval, layer: int) -> tuple[Numbers, Numbers]:
    """(K, kept) with K^T M K >= kept I, kept > 0, for every symmetric member M of x."""
    center = x.midpoint_radius()[0]
    factor, failed = torch.linalg.cholesky_ex(center)
    if bool(failed.any()):
        raise UnverifiedMultipliers(f"the storage before layer {layer} is not positive definite")
    identity = torch.eye(center.shape[-1], dtype=torch.float64)
    root = torch.linalg.solve_triangular(factor.mT, identity.expand_as(center), upper=True)
    defect = matmul(root.mT, matmul(x, root)) - identity
    kept = down(1.0 - sum_of_sizes(defect.magnitude, -1).amax(-1))
    if not bool((kept > 0).all()):
        raise UnverifiedMultipliers(f"the storage before layer {layer} is too close to singular")
    return root, kept


def _symmetric_below(enclosure: Interval) -> Numbers:
    """A symmetric S so that M - S >= 0 for every symmetric member M."""
    center = enclosure.midpoint_radius()[0]
    symmetric = center.tril() + center.tril(-1).mT
    errors = sum_of_sizes((enclosure - symmetric).magnitude, -1)
    diagonal = sum_down(symmetric.diagonal(dim1=-2, dim2=-1), -errors)
    return torch.diagonal_scatter(symmetric, diagonal, dim1=-2, dim2=-1)


def _require_multipliers(chain: Chain, multipliers: Sequence[Numbers]) -> None:
    if [tuple(m.shape) for m in multipliers] != [(s.neurons,) for s in chain.slopes]:
        raise InvalidRequest("one multiplier for each neuron of each layer")
    if not all(bool((m.isfinite() & (m > 0)).all()) for m in multipliers):
        raise UnverifiedMultipliers("multipliers are numbers above 0")

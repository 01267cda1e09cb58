"""The bound that given multipliers prove, with every rounding carried.

All vectors are differences of two values. A function with slopes in [alpha, beta] gives f = c z + r
with c = (alpha + beta) / 2, eta = (beta - alpha) / 2 and |r_k| <= eta_k |z_k| for each neuron k, so
for all multipliers lambda > 0, with T = diag(lambda) and V = diag(eta) A,

    (V h)^T T (V h) - r^T T r >= 0                            (Fazlyab et al., 2019, lemma 1).

One that folds space has c = 0 and eta = 1, and this holds for T = lambda_1 Q + lambda_2 (I - Q),
Q = s s^T / s^T s, of each group with its axis s (Pauli et al., ICLR 2024, theorem 1: part of u is
kept, so its multiplier has any sign, and |v| <= |u|). In both cases, of
h_i = M h_{i-1} + G r, M = S + G diag(c) A: from h_{i-1} h_{i-1}^T <= P and R = T^{-1} - V P V^T > 0
follows h_i h_i^T <= P_+ for

    P_+ = M P M^T + M P V^T R^{-1} V P M^T + G T^{-1} G^T.

For regular P the first is h^T P^{-1} h <= 1, so that h^T (P^{-1} - V^T T V) h + r^T T r <= 1, and
P_+ is M (P^{-1} - V^T T V)^{-1} M^T + G T^{-1} G^T, by Woodbury's identity; singular P are limits
of regular ones. This is the inequality of LipSDP layer by layer, as of Xu and Sivaranjani (2024,
theorem 2), but with skips, and with no inverse of the size of h. From |h_0|_2 <= 1, P = I, follows
|y|_2^2 <= |A_L P A_L^T|_2.

P_+ only grows with P, so every larger P_+ is allowed as well, and that is how rounding is paid for:

1. For any K with K^T R K >= kept I, kept > 0, both K and R are regular, R > 0, and R^{-1} is at
   most K K^T / kept. K is an approximate inverse of a Cholesky factor; kept comes from the enclosed
   K^T R K - I by Gershgorin's theorem. How K was found does not matter.
2. P_+ is enclosed; its symmetric centre is taken, and on the diagonal the sum of the errors of each
   row is added, so that the difference is diagonally dominant.

Where alpha = 0 and there is neither S nor G, P_+ = T^{-1} R^{-1} T^{-1}, which is cheaper.
"""

from collections.abc import Callable, Generator, Sequence

import torch

from certisolve_server.certifier.arithmetic import Interval, NotABound, matmul, spectral_norm
from certisolve_server.certifier.arithmetic.rounding import (
    Numbers,
    down,
    sqrt_up,
    sum_up,
)
from certisolve_server.certifier.arithmetic.sums import sum_of_sizes, total
from certisolve_server.certifier.errors import InvalidRequest, NotCertified
from certisolve_server.certifier.slices import finished

from .chain import Chain
from .layers import Folding, Layer, Slopes


class UnverifiedMultipliers(NotCertified):
    """The inequality that these multipliers are to satisfy was not proven in float64."""


def verified_bound(chain: Chain, multipliers: Sequence[Numbers]) -> float:
    """At least the Lipschitz constant of the chain, l2 to l2, on the whole space.

    Args:
        chain: what is bounded.
        multipliers: lambda of each layer, above 0, taken as the floats they are: (neurons,) of
            slopes, those without a spread unused; (2 groups,) of folds, first along all axes.

    Raises:
        UnverifiedMultipliers: they prove nothing, or nothing that float64 can see.
    """
    return float(finished(verifying(chain, multipliers)))


def verifying(chain: Chain, multipliers: Sequence[Numbers]) -> Generator[None, None, float]:
    """`verified_bound`, which stops for others after each layer."""
    _require_multipliers(chain, multipliers)
    try:
        bounds = yield from _bounds(chain, multipliers)
    except NotABound as exc:
        raise UnverifiedMultipliers("numbers overflow") from exc
    # False of NaN.
    if not bool((bounds >= 0).all() & bounds.isfinite().all()):
        raise UnverifiedMultipliers("the bound is not finite")
    return float(bounds.max())


def _bounds(chain: Chain, multipliers: Sequence[Numbers]) -> Generator[None, None, Numbers]:
    """By block."""
    storage: Interval | None = None
    for layer, weights in enumerate(multipliers):
        storage = _next(storage, chain, layer, weights)
        yield
    last = chain.maps[-1]
    if storage is None:
        return spectral_norm(last)
    return sqrt_up(spectral_norm(matmul(matmul(last, storage), _transposed(last))))


def _next(p: Interval | None, chain: Chain, layer: int, weights: Numbers) -> Interval:
    """P_+, exact, of P, None for the identity; (..., size of h_i, size of h_i)."""
    slopes, a, skip, mix = (
        chain.rows[layer],
        chain.maps[layer],
        chain.skip(layer),
        chain.mix(layer),
    )
    bent = _bent(slopes)
    inverse = _inverse_weight(slopes, weights, chain.copies)
    center, spread = (part.rearranged(_as_column) for part in slopes.center_and_spread)
    if skip is None and mix is None:
        seen = matmul(_times(a, p), _transposed(a))
        return _next_of_plain(slopes, seen, inverse, bent, layer)
    carry = center * a if mix is None else matmul(mix, center * a)
    carry = carry if skip is None else carry + skip
    reach = (spread * a).rearranged(lambda ends: ends[..., bent, :])
    root, kept = _inverse_root(inverse - matmul(_times(reach, p), _transposed(reach)), layer)
    carried = _times(carry, p)
    grown = matmul(matmul(carried, _transposed(reach)), root)
    own = _embedded(inverse, bent) if mix is None else _own(mix, inverse, bent)
    return _symmetric_above(matmul(carried, _transposed(carry)) + _square(grown, kept) + own)


def _next_of_plain(
    slopes: Layer, seen: Interval, inverse: Interval, bent: torch.Tensor, layer: int
) -> Interval:
    """From Z = A P A^T: M P M^T = diag(c) Z diag(c), and so on."""
    center, spread = slopes.center_and_spread
    column = spread.rearranged(_as_column)
    inner = (column * seen * spread).rearranged(lambda ends: ends[..., bent, :][..., bent])
    root, kept = _inverse_root(inverse - inner, layer)
    if isinstance(slopes, Folding):
        return _symmetric_above(inverse)
    if bool(bent.all()) and not bool(slopes.least.any()):
        return _symmetric_above(_square(matmul(inverse, root), kept))
    carried = center.rearranged(_as_column) * seen
    mixed = (carried * spread).rearranged(lambda ends: ends[..., bent])
    grown = _square(matmul(mixed, root), kept)
    return _symmetric_above(carried * center + grown + _embedded(inverse, bent))


def _bent(slopes: Layer) -> torch.Tensor:
    """Which rows have an r."""
    if isinstance(slopes, Slopes):
        return slopes.most > slopes.least
    return torch.ones(slopes.neurons, dtype=torch.bool)


def _inverse_weight(slopes: Layer, weights: Numbers, copies: int) -> Interval:
    """T^{-1} of the rows that have an r."""
    inverse = 1.0 / Interval.exact(weights)
    if isinstance(slopes, Slopes):
        rows = inverse.rearranged(lambda ends: ends.repeat(copies)[_bent(slopes)])
        return rows.rearranged(torch.diag)
    along, across = (
        inverse.rearranged(lambda ends: ends[:, None, None]).rearranged(take)
        for take in (_first_half(copies), _second_half(copies))
    )
    axes = Interval.exact(slopes.axes)
    products = axes.rearranged(lambda ends: ends[:, :, None]) * slopes.axes[:, None, :]
    lengths = total(axes.square(), -1).rearranged(lambda ends: ends[:, None, None])
    identity = torch.eye(slopes.axes.shape[1], dtype=torch.float64)
    blocks = (along - across) * (products / lengths) + across * identity
    return blocks.rearranged(_block_diagonal)


def _block_diagonal(blocks: torch.Tensor) -> torch.Tensor:
    """Of (groups, size, size)."""
    diagonal: torch.Tensor = torch.block_diag(*blocks)  # type: ignore[no-untyped-call]
    return diagonal


def _first_half(copies: int) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda ends: ends[: ends.shape[0] // 2].repeat(copies, 1, 1)


def _second_half(copies: int) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda ends: ends[ends.shape[0] // 2 :].repeat(copies, 1, 1)


def _inverse_root(x: Interval, layer: int) -> tuple[Numbers, Numbers]:
    """(K, kept) with K^T M K >= kept I, kept > 0, for every symmetric member M of x."""
    center = x.midpoint_radius()[0]
    factor, failed = torch.linalg.cholesky_ex(center)
    if bool(failed.any()):
        raise UnverifiedMultipliers(f"the inequality of layer {layer} does not hold")
    identity = torch.eye(center.shape[-1], dtype=torch.float64)
    root = torch.linalg.solve_triangular(factor.mT, identity.expand_as(center), upper=True)
    if not center.shape[-1]:
        return root, torch.ones(center.shape[:-2], dtype=torch.float64)
    defect = matmul(root.mT, matmul(x, root)) - identity
    kept = down(1.0 - sum_of_sizes(defect.magnitude, -1).amax(-1))
    if not bool((kept > 0).all()):
        raise UnverifiedMultipliers(f"the inequality of layer {layer} is too close to an equality")
    return root, kept


def _symmetric_above(enclosure: Interval) -> Interval:
    """A symmetric S so that S - M >= 0 for every symmetric member M."""
    center = enclosure.midpoint_radius()[0]
    symmetric = center.tril() + center.tril(-1).mT
    errors = sum_of_sizes((enclosure - symmetric).magnitude, -1)
    diagonal = sum_up(symmetric.diagonal(dim1=-2, dim2=-1), errors)
    return Interval.exact(torch.diagonal_scatter(symmetric, diagonal, dim1=-2, dim2=-1))


def _square(w: Interval, kept: Numbers) -> Interval:
    """W W^T / kept."""
    return matmul(w, _transposed(w)) / kept[..., None, None]


def _own(mix: Interval, inverse: Interval, bent: torch.Tensor) -> Interval:
    """G T^{-1} G^T."""
    part = mix.rearranged(lambda ends: ends[..., bent])
    return matmul(matmul(part, inverse), _transposed(part))


def _embedded(inverse: Interval, bent: torch.Tensor) -> Interval:
    """T^{-1} where G is the identity: 0 in the rows that have no r."""
    if bool(bent.all()):
        return inverse
    identity = torch.eye(bent.shape[0], dtype=torch.float64)[:, bent]
    return inverse.rearranged(lambda ends: identity @ ends @ identity.mT)


def _times(a: Interval, p: Interval | None) -> Interval:
    return a if p is None else matmul(a, p)


def _transposed(a: Interval) -> Interval:
    return a.rearranged(lambda ends: ends.mT)


def _as_column(ends: torch.Tensor) -> torch.Tensor:
    return ends.unsqueeze(-1)


def _require_multipliers(chain: Chain, multipliers: Sequence[Numbers]) -> None:
    if [tuple(m.shape) for m in multipliers] != [(s.multipliers,) for s in chain.slopes]:
        raise InvalidRequest("one multiplier for each neuron of each layer, two for each group")
    if not all(bool((m.isfinite() & (m > 0)).all()) for m in multipliers):
        raise UnverifiedMultipliers("multipliers are numbers above 0")

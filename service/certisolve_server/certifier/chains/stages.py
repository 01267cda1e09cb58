"""Chains in plain floats, layer by layer, for searches: nothing here proves anything.

A function with slopes in [alpha, beta] is h = c z + r of differences, c = (alpha + beta) / 2, with
|r| <= eta |z|, eta = (beta - alpha) / 2, and one that folds space is r alone, in coordinates of its
groups of which the first is along the axis. So a layer is

    h_i = M h_{i-1} + G r,   each r_k at most as large as (V h_{i-1})_k,   M = S + G c A, V = eta A,

where |.| is that of each number, or of what shares one multiplier. Neurons with alpha = beta are
linear, have no r, and are part of M alone.
"""

from dataclasses import dataclass

import torch

from certisolve_server.certifier.arithmetic.rounding import Numbers

from .chain import Chain
from .layers import Folding, Slopes

# Of c to eta: beyond, what is gained in speed is lost by cancellation.
_MOST_RATIO = 4.0


@dataclass(frozen=True, eq=False)
class Stage:
    """One layer.

    Args:
        reach: V, (..., r, size of h_{i-1}).
        carry: M, (..., size of h_i, size of h_{i-1}).
        mix: G, (..., size of h_i, r).
        share: which multiplier each r has, (r,); several may share one.
        multipliers: how many the layer has, those included that no r has.
        slant: |c| / eta of each r, (r,).
        ratio: c / eta if M is diag(c / eta) V and G the identity, which is cheaper.
    """

    reach: Numbers
    carry: Numbers
    mix: Numbers
    share: torch.Tensor
    multipliers: int
    slant: Numbers
    ratio: Numbers | None


def stages(chain: Chain) -> list[Stage]:
    """All layers of a chain."""
    return [_stage(chain, layer) for layer in range(len(chain.slopes))]


def _stage(chain: Chain, layer: int) -> Stage:
    slopes, a = chain.rows[layer], chain.centers[layer]
    skip, mix = (
        None if part is None else part.midpoint_radius()[0]
        for part in (chain.skip(layer), chain.mix(layer))
    )
    identity = torch.eye(slopes.neurons, dtype=torch.float64)
    if isinstance(slopes, Folding):
        turn = _turn(slopes)
        following = identity if mix is None else mix
        carry = following.new_zeros(following.shape[-2], a.shape[-1]) if skip is None else skip
        share = _share_of_groups(slopes, chain.copies)
        count = 2 * (slopes.groups // chain.copies)
        slant = torch.zeros(slopes.neurons, dtype=torch.float64)
        return Stage(turn @ a, carry, following @ turn.mT, share, count, slant, None)
    return _of_slopes(slopes, a, skip, mix, chain.copies)


def _of_slopes(
    slopes: Slopes, a: Numbers, skip: Numbers | None, mix: Numbers | None, copies: int
) -> Stage:
    center, spread = (slopes.most + slopes.least) / 2, (slopes.most - slopes.least) / 2
    own = center[:, None] * a
    carry = own if mix is None else mix @ own
    if skip is not None:
        carry = carry + skip
    bent = spread > 0
    identity = torch.eye(slopes.neurons, dtype=torch.float64)
    following = (identity if mix is None else mix)[..., bent]
    count = slopes.neurons // copies
    share = torch.arange(count).repeat(copies)[bent]
    ratio = (center / spread)[bent]
    plain = mix is None and skip is None and bool(bent.all())
    cheaper = ratio if plain and bool((ratio.abs() <= _MOST_RATIO).all()) else None
    reach = (spread[:, None] * a)[..., bent, :]
    return Stage(reach, carry, following, share, count, ratio.abs(), cheaper)


def _turn(folding: Folding) -> Numbers:
    """Orthogonal, (rows, rows): coordinates of each group, the first along its axis."""
    size = folding.axes.shape[1]
    unit = folding.axes / torch.linalg.vector_norm(folding.axes, dim=-1, keepdim=True)
    # Householder's reflection of the first coordinate to the axis, up to a sign.
    first = torch.eye(size, dtype=torch.float64)[0]
    mirror = unit + torch.where(unit[:, :1] >= 0, 1.0, -1.0) * first
    scale = 2.0 / (mirror * mirror).sum(-1)
    blocks = torch.eye(size, dtype=torch.float64) - scale[:, None, None] * (
        mirror[:, :, None] * mirror[:, None, :]
    )
    turn: Numbers = torch.block_diag(*blocks)  # type: ignore[no-untyped-call]
    return turn


def _share_of_groups(folding: Folding, copies: int) -> torch.Tensor:
    """Multiplier g for what is along the axis of group g, and groups + g for the rest."""
    groups, size = folding.groups // copies, folding.axes.shape[1]
    along = torch.arange(groups)[:, None]
    across = (along + groups).expand(groups, size - 1)
    return torch.cat([along, across], 1).flatten().repeat(copies)

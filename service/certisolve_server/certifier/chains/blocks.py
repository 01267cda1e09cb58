"""The search for multipliers of chains of many blocks, of which few decide.

Descent goes over the blocks that decide, and now and then all are looked at: those with a larger
gain than any of these, or none at all, join them. Multipliers that are feasible for these alone are
moved towards the start, which is feasible for all. Nothing here proves anything.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch

from certisolve_server.certifier.arithmetic.rounding import Numbers

from .chain import Chain
from .descent import descend
from .eclipse import starting
from .stages import Stage, stages

# How many blocks decide at first, how many join at a time, and after how many steps all are seen.
_FIRST, _JOINING, _STEPS = 8, 4, 10

# Of the gain of those that decide: what others may have.
_SLACK = 1.0 + 1e-4

_SHARES_OF_START = (0.0, 1e-6, 1e-3, 0.03, 0.3)
_MOST_ROUNDS = 200

# What a round gains at least if there are to be more.
_LEAST_GAIN = 1e-5


def search_blocks(chain: Chain) -> Iterator[tuple[Numbers, ...] | None]:
    """Ever better multipliers lambda of each layer, feasible for all blocks; None in between."""
    if not chain.slopes:
        return
    layers, last = stages(chain), chain.centers[-1]
    first = yield from starting(layers, last)
    gains = gains_of(layers, last, first)
    best, count = float(gains.max()), gains.shape[0]
    if count <= 2 * _FIRST:
        yield from descend(layers, last, first)
        return
    active = gains.argsort(descending=True)[:_FIRST]
    point, reached = first, math.inf
    for _ in range(_MOST_ROUNDS):
        found = None
        for step, found in enumerate(_steps(layers, last, active, point)):
            yield None
            point = point if found is None else found
            if step + 1 >= _STEPS:
                break
        gains = gains_of(layers, last, point)
        own = float(gains[active].max())
        worse = (gains > own * _SLACK).nonzero()[:, 0]
        worse = worse[gains[worse].argsort(descending=True)][:_JOINING]
        point, gain = _feasible(layers, last, point, first)
        if gain < best:
            best = gain
            yield point
        if not worse.numel() and not own < reached * (1.0 - _LEAST_GAIN):
            return
        reached = own if not worse.numel() else math.inf
        active = torch.unique(torch.cat([active, worse]))


def gains_of(layers: Sequence[Stage], last: Numbers, multipliers: Sequence[Numbers]) -> Numbers:
    """About the square of the bound of each block, (blocks,), inf where it has none."""
    storage: Numbers | None = None
    failed = torch.zeros((), dtype=torch.bool)
    for stage, own in zip(layers, multipliers, strict=True):
        rows = (1.0 / own)[stage.share]
        reached = stage.reach if storage is None else stage.reach @ storage
        factor, info = torch.linalg.cholesky_ex(torch.diag(rows) - reached @ stage.reach.mT)
        failed = failed | (info > 0)
        # Of blocks that fail the rest counts for nothing.
        eye = torch.eye(factor.shape[-1], dtype=torch.float64)
        factor = torch.where((info > 0)[..., None, None], eye, factor)
        carried = stage.carry if storage is None else stage.carry @ storage
        across = carried @ stage.reach.mT
        half = torch.linalg.solve_triangular(factor, across.mT, upper=False)
        storage = carried @ stage.carry.mT + half.mT @ half + (stage.mix * rows) @ stage.mix.mT
    squared = (last if storage is None else last @ storage) @ last.mT
    known = squared.isfinite().all(-1).all(-1)
    squared = torch.where(known[..., None, None], squared, 0.0)
    largest = torch.linalg.eigvalsh(squared)[..., -1]
    return torch.where(failed | ~known, math.inf, largest).reshape(-1)


def _steps(
    layers: Sequence[Stage], last: Numbers, active: torch.Tensor, start: Sequence[Numbers]
) -> Iterator[tuple[Numbers, ...] | None]:
    """Descent over some blocks."""
    some = [
        replace(
            stage,
            reach=_of(stage.reach, active),
            carry=_of(stage.carry, active),
            mix=_of(stage.mix, active),
        )
        for stage in layers
    ]
    return descend(some, _of(last, active), start)


def _of(a: Numbers, active: torch.Tensor) -> Numbers:
    return a[active] if a.ndim > 2 else a


def _feasible(
    layers: Sequence[Stage],
    last: Numbers,
    point: tuple[Numbers, ...],
    start: tuple[Numbers, ...],
) -> tuple[tuple[Numbers, ...], float]:
    """The point, moved towards the start until all blocks have a gain; and the largest gain."""
    for share in _SHARES_OF_START:
        moved = tuple((1 - share) * p + share * s for p, s in zip(point, start, strict=True))
        gain = float(gains_of(layers, last, moved).max())
        if gain < math.inf:
            return moved, gain
    return start, float(gains_of(layers, last, start).max())

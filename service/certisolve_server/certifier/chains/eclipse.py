"""Multipliers in closed form, layer by layer (ECLipsE-Fast: Xu and Sivaranjani, NeurIPS 2024).

With the notation of `recursion`, R = diag(mu) - Q > 0 wants a large mu and a small P_+ does not.
For mu = t m, m the largest eigenvalue of Q, and slopes in [alpha, beta], the largest eigenvalue of
P_+ is least at t = max(|alpha|, |beta|) / eta = 1 + |c| / eta. For slopes in [0, 1] that is t = 2,
as in the paper.

One number for a layer is far off where its neurons are scaled differently, as in sandwich layers.
So the same is done for neurons scaled to a Q with ones on the diagonal; the best of both and of
`paths` is taken. A search goes on best from the second or from that of paths, which are seldom at
the edge of what is feasible.
"""

from collections.abc import Callable, Generator, Sequence
from typing import TypeAlias, TypeVar

import torch

from certisolve_server.certifier.arithmetic.rounding import Numbers
from certisolve_server.certifier.slices import finished

from .chain import Chain
from .paths import by_paths
from .recursion import Passage, gains, passage, passages
from .stages import Stage, stages

#: From Q, (..., r, r), and the share of each r, to mu of each multiplier without the factor t.
Choice: TypeAlias = Callable[[Numbers, Stage], Numbers]

_Result = TypeVar("_Result")

# Slopes of both signs and one size put the best multiplier on the edge of what is feasible.
_INSIDE = 1.0 + 2.0**-10

# Functions that are nearly linear may have any multiplier, and none is the best.
_MOST_SLANT = 2.0**10

# Of the largest size on a diagonal; neurons that nothing reaches may have any multiplier.
_LEAST_SHARE = 2.0**-40

_MOST_DOUBLINGS = 60


def closed_form(chain: Chain) -> tuple[Numbers, ...]:
    """The best of all choices, lambda of each layer, feasible as far as floats can tell."""
    return finished(choosing_best(chain))


def choosing_best(chain: Chain) -> Generator[None, None, tuple[Numbers, ...]]:
    """`closed_form`, which stops for others after each layer."""
    layers, last = stages(chain), chain.centers[-1]
    best: tuple[Numbers, ...] = ()
    least = float("inf")
    for choice in (by_neuron, one_for_all):
        found, storage = yield from choosing(layers, choice)
        squared = gain(last, storage)
        if not best or squared < least:
            best, least = found, squared
    together = yield from by_paths(layers, last)
    if together is not None and gain_of(layers, last, together) < least:
        return together
    return best


def starting(layers: Sequence[Stage], last: Numbers) -> Generator[None, None, tuple[Numbers, ...]]:
    """Multipliers from which a search goes on best."""
    inside, storage = yield from choosing(layers, by_neuron)
    together = yield from by_paths(layers, last)
    if together is None or not gain_of(layers, last, together) < gain(last, storage):
        return inside
    return together


def multipliers(chain: Chain, choice: Choice) -> tuple[Numbers, ...]:
    """Lambda by one choice, layer by layer."""
    return chosen(stages(chain), choice)[0]


def chosen(
    layers: Sequence[Stage],
    choice: Choice,
    slack: float = 1.0,
    storage: Numbers | None = None,
) -> tuple[tuple[Numbers, ...], Numbers | None]:
    """Lambda of each layer, and the storage at the end.

    Args:
        layers: all of the chain, or its last ones.
        choice: how.
        slack: how much larger mu is than the choice says.
        storage: before these layers, None for the identity.
    """
    return finished(choosing(layers, choice, slack, storage))


def choosing(
    layers: Sequence[Stage],
    choice: Choice,
    slack: float = 1.0,
    storage: Numbers | None = None,
) -> Generator[None, None, tuple[tuple[Numbers, ...], Numbers | None]]:
    """`chosen`, which stops for others after each layer."""
    found = []
    for stage in layers:
        weights, through = _feasible(stage, storage, choice, slack)
        found.append(1.0 / weights)
        storage = None if through is None else through.after
        yield
    return tuple(found), storage


def gain(last: Numbers, storage: Numbers | None) -> float:
    """About the square of the bound."""
    squared = gains(last, storage)
    if not bool(squared.isfinite().all()):
        return float("inf")
    return float(torch.linalg.eigvalsh(squared).max())


def gain_of(layers: Sequence[Stage], last: Numbers, multipliers: Sequence[Numbers]) -> float:
    """About the square of the bound of these multipliers, inf where they are not feasible."""
    passed = passages(layers, [1.0 / own for own in multipliers])
    return float("inf") if passed is None else gain(last, passed[-1].after if passed else None)


def one_for_all(seen: Numbers, stage: Stage) -> Numbers:
    """The largest eigenvalue of Q for all neurons."""
    return torch.full((stage.multipliers,), largest_eigenvalue(seen), dtype=torch.float64)


def by_neuron(seen: Numbers, stage: Stage) -> Numbers:
    """The diagonal of Q times the largest eigenvalue of what Q is when scaled by it."""
    blocks = seen.shape[:-2].numel()
    diagonal = seen.diagonal(dim1=-2, dim2=-1).reshape(blocks, seen.shape[-1]).amax(0)
    sizes = torch.zeros(stage.multipliers, dtype=torch.float64)
    sizes = sizes.scatter_reduce(0, stage.share, diagonal, "amax")
    largest = float(sizes.max()) if sizes.numel() else 0.0
    sizes = sizes.clamp(min=largest * _LEAST_SHARE) if largest > 0 else torch.ones_like(sizes)
    root = sizes[stage.share].rsqrt()
    return sizes * largest_eigenvalue(root[:, None] * seen * root)


def largest_eigenvalue(symmetric: Numbers) -> float:
    """About that of all blocks; 1 where there is none above 0."""
    if not symmetric.numel() or not bool(symmetric.isfinite().all()):
        return 1.0
    largest = float(torch.linalg.eigvalsh(symmetric).max())
    return largest if largest > 0 else 1.0


def _feasible(
    stage: Stage, before: Numbers | None, choice: Choice, slack: float
) -> tuple[Numbers, Passage | None]:
    """The chosen mu, doubled until R is positive definite."""
    reached = stage.reach if before is None else stage.reach @ before
    slants = torch.zeros(stage.multipliers, dtype=torch.float64)
    slants = slants.scatter_reduce(0, stage.share, stage.slant.clamp(max=_MOST_SLANT), "amax")
    own = choice(reached @ stage.reach.mT, stage) * (1.0 + slants) * (slack * _INSIDE)
    weights = own.nan_to_num(1.0, 1.0, 1.0)
    for _ in range(_MOST_DOUBLINGS):
        through = passage(stage, before, weights)
        if through is not None:
            return weights, through
        weights = weights * 2.0
    # Multipliers that prove nothing are refused where they are verified.
    return weights, None

"""Where a part is best cut: at the neuron whose unknown slope may change the norm most.

A change of f'_k by w changes d_k by at most w |a_k|, and that the norm by at most the sum of sizes
of all paths from d_k to the gradient. After "area" of Shi et al. (NeurIPS 2022), without sweeps.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from certisolve_server.certifier.functions import Function

from .cells import Cells, Clip
from .enclosure import Enclosure
from .objective import Objective
from .parts import Cut
from .pieces import pieces_of


def best_cuts(
    enclosure: Enclosure, objective: Objective, clips: Mapping[int, Clip], repeats: int
) -> list[Cut | None]:
    """For each part, of `repeats` rows each; None where no slope is unknown."""
    network = enclosure.known.network
    if network.depth == 0:
        return [None] * (len(enclosure.is_empty) // repeats)
    places, scores = [], []
    for number, reach in _reaches(enclosure, objective).items():
        of = enclosure.cells[number]
        place = _places(network.layers[number - 1].function, of, clips[number])
        unknown = of.slopes.upper - of.slopes.lower
        score = reach * enclosure.a[number].magnitude * unknown
        usable = place.isfinite() & (score > 0)
        scores.append(torch.where(usable, score, 0.0))
        places.append(place)
    sums = torch.cat(scores, 1).reshape(-1, repeats, sum(each.shape[1] for each in scores)).sum(1)
    best = sums.max(1)
    at = torch.cat(places, 1)[::repeats].gather(1, best.indices[:, None])[:, 0]
    ends = torch.tensor([each.shape[1] for each in places]).cumsum(0)
    return [
        _cut(index, place, ends) if score > 0 else None
        for score, index, place in zip(
            best.values.tolist(), best.indices.tolist(), at.tolist(), strict=True
        )
    ]


def _reaches(enclosure: Enclosure, objective: Objective) -> dict[int, Tensor]:
    """By how much a unit of each d may change the norm, at most; by layer."""
    network = enclosure.known.network
    fixed, crossing = objective.sensitivities(enclosure)
    reaches: dict[int, Tensor] = {}
    for number, matrix in network.consumers[0]:
        reaches[number] = (fixed @ matrix.center.mT).abs() + crossing @ matrix.sizes.mT
    for source in range(1, network.depth + 1):
        found = reaches.setdefault(source, torch.zeros_like(enclosure.a[source].lower))
        onward = found * enclosure.cells[source].slopes.magnitude
        for number, matrix in network.consumers[source]:
            image = onward @ matrix.sizes.mT
            reaches[number] = reaches[number] + image if number in reaches else image
    return {number: reaches[number] for number in sorted(reaches)}


def _places(function: Function, of: Cells, clip: Clip) -> Tensor:
    """Where each range may be cut, at a kink or where slopes become known best; NaN: nowhere."""
    lower, upper = of.places.lower, of.places.upper
    pieces = pieces_of(function)
    place = torch.full_like(lower, torch.nan)
    if pieces is None:
        middle = _dividing(of)
        return torch.where((lower < middle) & (middle < upper), middle, place)
    for kink in pieces.breaks:
        inside = (lower <= kink) & (kink <= upper) & (clip.lower < kink) & (kink < clip.upper)
        place = torch.where(inside, kink, place)
    return place


def _dividing(of: Cells) -> Tensor:
    """The point between whose sides the widths of slopes are least together, then at most."""
    below = of.slope.cummax(-1).values - of.slope.cummin(-1).values
    above = _reversed_cumulative(of.slope)
    together = below + above + 0.25 * torch.maximum(below, above)
    best = together[..., 1:-1].argmin(-1, keepdim=True) + 1
    return of.place.gather(-1, best)[..., 0]


def _reversed_cumulative(slope: Tensor) -> Tensor:
    flipped = slope.flip(-1)
    return (flipped.cummax(-1).values - flipped.cummin(-1).values).flip(-1)


def _cut(index: int, place: float, ends: Tensor) -> Cut:
    layer = int((ends <= index).sum())
    start = int(ends[layer - 1]) if layer else 0
    return Cut(layer + 1, index - start, place)

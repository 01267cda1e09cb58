"""From a point and a direction to witnesses in the region."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from certisolve_server.certifier.witness import Kind

from .space import Space

#: Parts of the region: how far a direction goes, and how far the points of a pair are apart.
_STEPS: tuple[tuple[Kind, float], ...] = (
    ("direction", 1e-9),
    ("direction", 1e-4),
    ("pair", 1e-5),
    ("pair", 1e-2),
    ("pair", 1.0),
)

#: By how much a point is moved off the boundary, in parts of the region.
_MARGIN = 1e-12


class Candidate(NamedTuple):
    """A witness that is not proven yet, its inputs in one row each."""

    kind: Kind
    x: Tensor
    other: Tensor


def candidates(space: Space, point: Tensor, direction: Tensor) -> Iterator[Candidate]:
    """What may be a witness of the direction at the point, moved inwards as far as it has to be.

    Args:
        space: the region.
        point: (entries,).
        direction: (entries,).
    """
    reach = _reach(space, point, direction)
    for kind, part in _STEPS if reach > 0.0 else ():
        inside = 1.0 - 2.0 * part - _MARGIN if part < 1.0 else 0.0
        at = space.anchor + inside * (point - space.anchor) if space.is_bounded else point
        step = (1.0 - _MARGIN) * part * reach * direction
        for signed in (step, -step):
            start, end = space.project(torch.stack([at, at + signed]))
            if not torch.equal(start, end):
                yield Candidate(kind, start, end if kind == "pair" else signed)
            if torch.equal(end, at + signed):
                break


def _reach(space: Space, point: Tensor, direction: Tensor) -> float:
    """How long a direction may be."""
    if not bool((direction != 0).any()):
        return 0.0
    if space.is_bounded:
        return space.reach(direction)
    return float((1.0 + point.abs().amax()) / direction.abs().amax())

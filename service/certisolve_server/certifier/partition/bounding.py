"""What is asked of a way to bound parts of a box."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Protocol

import torch
from torch import Tensor


@dataclass(frozen=True)
class Parts:
    """What is known of some boxes.

    Args:
        upper: (boxes,), proven on each; 0 where nothing of it counts, inf without a bound.
        seen: (boxes,), about the size of the slopes at some point of each; not proven.
        scores: (boxes, inputs), how much is expected of a cut along an input.
        face: (boxes,), -1; or that the box may be replaced by its lower (2 k) or upper (2 k + 1)
            face along input k, if `rest` is counted as well.
        rest: (boxes,).
    """

    upper: Tensor
    seen: Tensor
    scores: Tensor
    face: Tensor
    rest: Tensor


class Bounding(Protocol):
    """Bounds boxes, each by itself."""

    @property
    def whole(self) -> tuple[Tensor, Tensor]:
        """The ends of the box that is cut, (inputs,)."""

    @property
    def batch(self) -> int:
        """How many boxes are worth bounding at a time."""

    def bound(self, lower: Tensor, upper: Tensor) -> Parts:
        """Of boxes (boxes, inputs)."""

    def jacobian(self, point: Tensor) -> Tensor:
        """About that of the map at a point (inputs,): (outputs, inputs), for what is `seen`."""

    def beyond_faces(self, lower: Tensor, upper: Tensor, face: Tensor) -> Tensor:
        """A bound of all on each box that does not show on its face, (boxes,).

        Args:
            lower: (boxes, inputs).
            upper: likewise.
            face: (boxes,), as in `Parts`.
        """


def middles(lower: Tensor, upper: Tensor) -> Tensor:
    """Where boxes are cut: halfway, and of an endless side at a number of growing size."""
    halfway = lower + 0.5 * (upper - lower)
    beyond = torch.where(
        lower.isfinite(),
        2.0 * lower.abs() + 1.0,
        torch.where(upper.isfinite(), -2.0 * upper.abs() - 1.0, 0.0),
    )
    return torch.where(halfway.isfinite(), halfway, beyond)


def at_once_or_in_halves(
    bounding: "Bounding", lower: Tensor, upper: Tensor, errors: tuple[type[Exception], ...]
) -> Parts:
    """Bounds of boxes of which some may give none: those are told apart by halving."""
    try:
        return bounding.bound(lower, upper)
    except errors:
        if len(lower) == 1:
            return unbounded(lower, upper)
    half = len(lower) // 2
    first = at_once_or_in_halves(bounding, lower[:half], upper[:half], errors)
    second = at_once_or_in_halves(bounding, lower[half:], upper[half:], errors)
    return joined([first, second])


def unbounded(lower: Tensor, upper: Tensor) -> Parts:
    """Of boxes of which nothing is known."""
    infinite = torch.full((len(lower),), torch.inf, dtype=torch.float64)
    nowhere = torch.full((len(lower),), -1)
    zero = torch.zeros_like(infinite)
    return Parts(infinite, zero, upper - lower, nowhere, zero)


def joined(parts: list[Parts]) -> Parts:
    """Boxes one after another."""
    names = [each.name for each in fields(Parts)]
    return Parts(*(torch.cat([getattr(part, name) for part in parts]) for name in names))


def of_each(parts: Parts, pick: Callable[[Tensor], Tensor]) -> Parts:
    """Some of the boxes."""
    return Parts(*(pick(getattr(parts, each.name)) for each in fields(Parts)))

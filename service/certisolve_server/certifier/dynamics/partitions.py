"""A box cut in two again and again, so that its parts are told by which axes were cut."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from certisolve_server.certifier.arithmetic import Interval, total
from certisolve_server.certifier.errors import NotCertified
from certisolve_server.certifier.region import Ball, Region

#: Cuts on top of each other: beyond that, floats of an axis are used up.
_DEEPEST = 400


@dataclass(eq=False)
class Part:
    """A box, or the two that it was cut into.

    Args:
        lower: (n,).
        upper: (n,).
        steps: in which it is looked at.
        axis: along which it was cut; -1 for none.
        parts: the two.
    """

    lower: Tensor
    upper: Tensor
    steps: int
    axis: int = -1
    parts: tuple["Part", ...] = ()

    def cut(self, axis: int) -> bool:
        """Into halves, both with the middle; false where there is no float between the ends."""
        middle = self.lower[axis] + 0.5 * (self.upper[axis] - self.lower[axis])
        if not bool((self.lower[axis] < middle) & (middle < self.upper[axis])):
            return False
        left, right = self.upper.clone(), self.lower.clone()
        left[axis] = right[axis] = middle
        self.axis = axis
        self.parts = (Part(self.lower, left, self.steps), Part(right, self.upper, self.steps))
        return True

    def leaves(self) -> Iterator["Part"]:
        """The boxes that were not cut."""
        waiting = [self]
        while waiting:
            part = waiting.pop()
            if part.parts:
                waiting.extend(part.parts)
            else:
                yield part

    def to_json(self) -> Any:
        """How it was cut: steps of a box, or an axis and two more."""
        if not self.parts:
            return self.steps
        return [self.axis, *(part.to_json() for part in self.parts)]


def from_json(whole: Interval, cuts: Any, most_steps: int) -> Part:
    """What `to_json` was called on.

    Args:
        whole: (n,), the box.
        cuts: from a certificate.
        most_steps: more are refused.

    Raises:
        NotCertified: the cuts are not such.
    """
    root = Part(whole.lower, whole.upper, 0)
    waiting = [(root, cuts, 0)]
    while waiting:
        part, told, depth = waiting.pop()
        if isinstance(told, list):
            is_cut = len(told) == 3 and _is_number(told[0], len(whole.lower) - 1)
            if not is_cut or depth > _DEEPEST or not part.cut(told[0]):
                raise NotCertified("the box was not cut as the evidence says")
            waiting.extend(
                (half, inner, depth + 1) for half, inner in zip(part.parts, told[1:], strict=True)
            )
        elif _is_number(told, most_steps) and told > 0:
            part.steps = told
        else:
            raise NotCertified(f"{told!r} is no number of steps up to {most_steps}")
    return root


def is_outside(region: Region, part: Part) -> bool:
    """Whether the part is proven to hold nothing of the region."""
    if not isinstance(region, Ball):
        return False
    center = torch.cat([each.flatten() for each in region.center.values()]).double()
    nearest = (Interval(part.lower, part.upper) - center).mignitude
    # The difference is rounded outward, so no member is nearer than this.
    if region.norm == "linf":
        return bool((nearest > region.radius).any())
    if region.norm == "l1":
        return bool(total(Interval.exact(nearest), 0).lower > region.radius)
    squared = total(Interval.exact(nearest).square(), 0)
    return bool(squared.lower > (Interval.exact(region.radius).square()).upper)


def _is_number(told: Any, most: int) -> bool:
    return type(told) is int and 0 <= told <= most

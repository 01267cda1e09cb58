"""How far the points of a bounded set are from its center, along each linear form."""

from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor

from certisolve_server.certifier.arithmetic import Interval
from certisolve_server.certifier.arithmetic.rounding import Numbers, sum_up
from certisolve_server.certifier.domain import Boxes
from certisolve_server.certifier.problem import Problem
from certisolve_server.certifier.region import Ball, length

from .sizes import MORE, SMALLEST, lengths_along


@dataclass(frozen=True, eq=False)
class Reach:
    """A point c of a set, and bounds of d = x - c of all x of a convex set that holds it.

    Args:
        center: c, as boxes.
        sides: at least |d| entry by entry, (inputs,).
        radius: at least |d|_2.
    """

    center: Boxes
    sides: Numbers
    radius: float

    def along(self, forms: Tensor) -> Tensor:
        """At least |g d| of forms g, (inputs, ...) to (...)."""
        by_sides = torch.tensordot(self.sides, forms.abs(), 1)
        by_radius = lengths_along(forms, 0) * self.radius
        return torch.minimum(by_sides, by_radius) * MORE + SMALLEST


def reach_of(problem: Problem) -> Reach:
    """From the center of the ball, or of the box.

    Raises:
        NotCertified: the region is everything.
    """
    boxes, region = problem.require_boxes(), problem.region
    center = boxes.centers()
    if isinstance(region, Ball):
        points = {
            name: Interval.exact(region.center[name].to(torch.float64).reshape(side.shape))
            for name, side in boxes.sides.items()
        }
        center = Boxes(MappingProxyType(points))
    around, at = boxes.flat(), center.flat()
    sides = torch.maximum(
        sum_up(around.upper[0], -at.upper[0]), sum_up(at.lower[0], -around.lower[0])
    )
    radius = float(length(sides, "l2"))
    if isinstance(region, Ball) and region.norm in ("l1", "l2"):
        radius = min(radius, region.radius)
    return Reach(center, sides, radius)

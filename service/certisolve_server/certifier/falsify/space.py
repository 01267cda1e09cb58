"""The region as a search sees it: where to start, and how to come back from outside."""

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from certisolve_server.certifier.graph.node import Graph
from certisolve_server.certifier.problem import Problem
from certisolve_server.certifier.region import Ball, Point

_ORDERS = {"l1": 1.0, "l2": 2.0, "linf": math.inf}

#: From everything, points of these sizes are drawn, log-uniformly.
_DECADES = (-3.0, 4.0)


@dataclass(frozen=True, eq=False)
class Space:
    """Points as rows of all varying numbers, (batch, entries), float64.

    Args:
        lower, upper: of the box around the region; infinite of everything.
        center: from which a ball is measured, or the middle of a box.
        radius: of a ball in the norm of this order; inf of a box.
        order: 1, 2 or inf.
    """

    lower: Tensor
    upper: Tensor
    center: Tensor
    radius: float
    order: float

    @property
    def is_bounded(self) -> bool:
        """Whether it is not everything."""
        return bool(self.upper.isfinite().all())

    @property
    def halfwidth(self) -> Tensor:
        """(entries,): of the box, or ones."""
        width = 0.5 * (self.upper - self.lower)
        return width if self.is_bounded else torch.ones_like(width)

    @cached_property
    def anchor(self) -> Tensor:
        """A point with as much of the region on one side as on the other, where it can be."""
        if not self.is_bounded:
            return self.center
        middle = self.lower + 0.5 * (self.upper - self.lower)
        offset = middle - self.center
        size = float(torch.linalg.vector_norm(offset, self.order))
        share = min(1.0, 0.5 * self.radius / size) if size > 0.0 else 1.0
        return (self.center + share * offset).clamp(self.lower, self.upper)

    def reach(self, direction: Tensor) -> float:
        """How far the region goes from its anchor along a direction and its opposite."""
        moves = direction != 0
        room = torch.minimum(self.upper - self.anchor, self.anchor - self.lower)
        reach = float((room[moves] / direction[moves].abs()).amin())
        off = float(torch.linalg.vector_norm(self.anchor - self.center, self.order))
        size = float(torch.linalg.vector_norm(direction, self.order))
        return min(reach, max(0.0, self.radius - off) / size)

    @property
    def free(self) -> Tensor:
        """(entries,): which numbers vary at all."""
        return self.upper > self.lower

    def project(self, points: Tensor) -> Tensor:
        """Into the region: towards the center, then into the box."""
        if math.isfinite(self.radius):
            offset = points - self.center
            size = torch.linalg.vector_norm(offset, self.order, 1, keepdim=True)
            factor = (self.radius / size.clamp(min=torch.finfo(torch.float64).tiny)).clamp(max=1.0)
            points = self.center + offset * factor
        return points.clamp(self.lower, self.upper)

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """The center, corners, and points in between: (count, entries)."""
        shape = (count, self.center.numel())
        if not self.is_bounded:
            size = torch.rand(count, 1, generator=generator, dtype=torch.float64)
            size = 10.0 ** (_DECADES[0] + size * (_DECADES[1] - _DECADES[0]))
            points = torch.randn(shape, generator=generator, dtype=torch.float64) * size
        else:
            part = 2.0 * torch.rand(shape, generator=generator, dtype=torch.float64) - 1.0
            corners = torch.rand(count, generator=generator, dtype=torch.float64) < 0.25
            part[corners] = part[corners].sign()
            points = self.center + part * self.halfwidth
        points[0] = self.center
        return self.project(points)


def space_of(problem: Problem) -> Space:
    """The region of a problem, flattened."""
    boxes = problem.boxes
    if boxes is None:
        entries = sum(math.prod(each.shape) for each in problem.graph.inputs)
        end = torch.full((entries,), math.inf, dtype=torch.float64)
        return Space(-end, end, torch.zeros(entries, dtype=torch.float64), math.inf, 2.0)
    sides = boxes.flat()
    lower, upper = sides.lower[0], sides.upper[0]
    region = problem.region
    if isinstance(region, Ball):
        center = flat(problem.graph, region.center)
        return Space(lower, upper, center, region.radius, _ORDERS[region.norm])
    center = (lower + 0.5 * (upper - lower)).clamp(lower, upper)
    return Space(lower, upper, center, math.inf, math.inf)


def flat(graph: Graph, point: Point) -> Tensor:
    """A point as one row of numbers."""
    parts = [torch.as_tensor(point[each.name], dtype=torch.float64) for each in graph.inputs]
    return torch.cat([part.flatten() for part in parts])


def unflat(graph: Graph, numbers: Tensor) -> Point:
    """A row of numbers as a point."""
    parts = torch.split(numbers, [math.prod(each.shape) for each in graph.inputs])
    return {
        each.name: part.reshape(each.shape).clone()
        for each, part in zip(graph.inputs, parts, strict=True)
    }

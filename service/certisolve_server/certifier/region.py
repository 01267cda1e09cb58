"""Sets of inputs on which a constant holds. Each is convex, as every method here needs."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeAlias

import torch
from torch import Tensor

from .arithmetic import Interval
from .arithmetic.norms import Norm
from .arithmetic.rounding import product_up, sqrt_up
from .arithmetic.sums import sum_of_sizes
from .domain import Boxes, box
from .errors import InvalidRequest
from .graph.node import Graph
from .norms import NORMS

#: By varying input, in its shape, float64.
Point: TypeAlias = Mapping[str, Tensor]


@dataclass(frozen=True, eq=False)
class Box:
    """All x with lower <= x <= upper, entry by entry, the ends taken exactly."""

    lower: Point
    upper: Point


@dataclass(frozen=True, eq=False)
class Ball:
    """All x with |x - center| <= radius, and within `limits` where there are any.

    Args:
        center: of all varying inputs, which are measured together, as one flat vector.
        radius: not negative, finite.
        norm: without weights.
        limits: what the ball is intersected with; it holds the center.
    """

    center: Point
    radius: float
    norm: Norm
    limits: Box | None = None

    def __post_init__(self) -> None:
        # False of NaN.
        if not 0.0 <= self.radius < float("inf"):
            raise InvalidRequest(f"a radius is finite and not negative, not {self.radius}")
        if self.norm not in NORMS:
            raise InvalidRequest(f"a norm is one of {NORMS}, not {self.norm!r}")


@dataclass(frozen=True)
class Everything:
    """All of the space."""


Region: TypeAlias = Box | Ball | Everything


def hull(region: Region, graph: Graph) -> Boxes | None:
    """A box that holds the region, rounded outward; None of everything.

    Raises:
        InvalidRequest: the region is not one of the inputs of the graph, or is empty.
    """
    if isinstance(region, Everything):
        return None
    if isinstance(region, Box):
        return box(graph, region.lower, region.upper)
    at = box(graph, region.center, region.center)
    around = Interval.exact(torch.tensor([-region.radius, region.radius], dtype=torch.float64))
    ends = Interval(around.lower[:1], around.upper[1:])
    sides = {name: side + ends.rearranged(_scalar) for name, side in at.sides.items()}
    if region.limits is None:
        return Boxes(MappingProxyType(sides))
    limits = box(graph, region.limits.lower, region.limits.upper)
    if not _within(at, limits):
        raise InvalidRequest("the center of the ball is outside of its limits")
    clipped = {name: side.intersection(limits.sides[name]) for name, side in sides.items()}
    return Boxes(MappingProxyType(clipped))


def contains(region: Region, graph: Graph, point: Point) -> bool:
    """Whether the point is proven to be in the region; false where rounding leaves it open."""
    if isinstance(region, Everything):
        return all(bool(value.isfinite().all()) for value in point.values())
    return holds(region, box(graph, point, point), graph)


def holds(region: Region, boxes: Boxes, graph: Graph) -> bool:
    """Whether all of one box is proven to be in the region."""
    if isinstance(region, Everything):
        return True
    if isinstance(region, Box):
        return _within(boxes, box(graph, region.lower, region.upper))
    if region.limits is not None and not _within(
        boxes, box(graph, region.limits.lower, region.limits.upper)
    ):
        return False
    center = box(graph, region.center, region.center)
    sizes = (boxes.flat() - center.flat()).magnitude[0]
    return bool(length(sizes, region.norm) <= region.radius)


def length(sizes: Tensor, norm: Norm) -> Tensor:
    """At least the norm of a vector of sizes, (..., entries) to (...)."""
    if norm == "l1":
        return sum_of_sizes(sizes, -1)
    if norm == "linf":
        return sizes.amax(-1)
    return sqrt_up(sum_of_sizes(product_up(sizes, sizes), -1))


def _within(inner: Boxes, outer: Boxes) -> bool:
    small, large = inner.flat(), outer.flat()
    return bool(((large.lower <= small.lower) & (small.upper <= large.upper)).all())


def _scalar(ends: Tensor) -> Tensor:
    return ends.reshape(())

"""The map on a region, enclosed around its values at one point of it.

At the point all is computed in float64; the values on the region, and on reals, are off from that
by what the walk gives. Of a deep network that is much less than interval arithmetic gives, which
multiplies up the sizes of weights where this multiplies up spectral norms.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor

from certisolve_server.certifier.arithmetic import Interval
from certisolve_server.certifier.domain import Boxes, box
from certisolve_server.certifier.errors import NotCertified
from certisolve_server.certifier.execution import Execution
from certisolve_server.certifier.graph.node import Graph
from certisolve_server.certifier.region import Ball, Point, Region, hull

from .deviation import Deviation, Known, number, widened
from .precision import FLOAT64
from .walk import Walk


@dataclass(frozen=True)
class Around:
    """Enclosures around a point.

    Args:
        values: by node, its exact values on the region.
        output: the computed value at the point, and how far all exact ones are from it.
        center: the computed value of the output.
    """

    values: Mapping[str, Interval]
    output: Deviation
    center: Tensor


class Surveyor:
    """Encloses one map, at points and on regions.

    Raises:
        UnsupportedOperator: an operator has no rule of rounding, or cannot be executed.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph, self._execution = graph, Execution(graph)
        self._walk = Walk(graph, FLOAT64)

    def at_point(self, point: Point) -> Around:
        """The exact values at one point, as what float64 computes and its rounding."""
        known = {
            name: Known(side, Deviation.none(tuple(side.shape)), True)
            for name, side in _single(box(self._graph, point, point)).items()
        }
        return self._around(point, known)

    def on_region(self, region: Region) -> Around:
        """The exact values on a region, around its middle.

        Raises:
            NotCertified: it is not bounded, or there is no bound at some node.
        """
        boxes = hull(region, self._graph)
        if boxes is None:
            raise NotCertified("takes a bounded set, not everything")
        centers, length = _middle(region, boxes, self._graph)
        point = {name: side.lower[0] for name, side in centers.sides.items()}
        sides, middles = _single(boxes), _single(centers)
        known = {
            name: Known(side, Deviation.within((side - middles[name]).magnitude, length), True)
            for name, side in sides.items()
        }
        return self._around(point, known)

    def _around(self, point: Point, known: Mapping[str, Known]) -> Around:
        flat = torch.cat([point[each.name].flatten().double() for each in self._graph.inputs])
        with torch.no_grad():
            computed = self._execution.trace(flat)
        values: dict[str, Interval] = {name: each.hull for name, each in known.items()}

        def around(name: str, deviation: Deviation) -> Interval:
            values[name] = widened(_finite(computed[name]), deviation)
            return values[name]

        output = self._walk.output(known, around)
        center = computed[self._graph.output]
        return Around(MappingProxyType(values), output.deviation, center)


def _finite(computed: Tensor) -> Interval:
    """What was computed, as a point.

    Raises:
        NotABound: it is infinite or NaN.
    """
    return Interval.exact(computed.double())


def _single(boxes: Boxes) -> dict[str, Interval]:
    return {name: side.rearranged(lambda ends: ends[0]) for name, side in boxes.sides.items()}


def _middle(region: Region, boxes: Boxes, graph: Graph) -> tuple[Boxes, Tensor | None]:
    """A point, and how far the region goes from it in l2 where the box around it does not tell.

    Of l1 and l2 balls: |d|_2 <= |d|_1.
    """
    if not isinstance(region, Ball) or region.limits is not None:
        return boxes.centers(), None
    length = None if region.norm == "linf" else number(region.radius)
    return box(graph, region.center, region.center), length

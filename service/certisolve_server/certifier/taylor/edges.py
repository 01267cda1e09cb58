"""Edge functions of a spline layer on a flat axis."""

from collections.abc import Sequence

from certisolve_server.certifier.arithmetic import Interval
from certisolve_server.certifier.functions import JointFunction
from certisolve_server.certifier.splines import SplineEdges


class FlatEdges(JointFunction):
    """The functions of (rows, inputs, outputs) edges, of intervals (entries, boxes).

    Args:
        edges: of one row.
        shape: (rows, inputs, outputs).
    """

    def __init__(self, edges: SplineEdges, shape: tuple[int, ...]) -> None:
        self._edges, self._shape = edges, shape

    def jet(self, x: Interval, orders: Sequence[int]) -> list[Interval]:
        boxes = x.shape[-1]
        shaped = x.rearranged(lambda ends: ends.mT.reshape(boxes, *self._shape))
        return [
            each.rearranged(lambda ends: ends.reshape(boxes, -1).mT)
            for each in self._edges.jet(shaped, orders)
        ]

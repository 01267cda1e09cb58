"""Parts bounded by intervals of values and slopes: of any graph, and without end."""

import math

import torch
from torch import Tensor

from certisolve_server.certifier.arithmetic import Interval
from certisolve_server.certifier.domain import Boxes
from certisolve_server.certifier.graph.node import Graph
from certisolve_server.certifier.methods.mean_value import enclose
from certisolve_server.certifier.norms import Norms

from .bounding import Parts
from .outside import Outside

#: Numbers of all slopes of one node, on all boxes together.
_MAX_NUMBERS = 1 << 20
_MAX_BATCH = 64


class ByIntervals:
    """Values and slopes on each box, each sharpened by the other: see `methods.mean_value`.

    Args:
        graph: of the map.
        box: one, that is cut.
        norms: of its slopes.
        outside: tells which parts do not count.
    """

    def __init__(self, graph: Graph, box: Boxes, norms: Norms, outside: Outside) -> None:
        self._graph, self._box, self._norms, self._outside = graph, box, norms, outside
        flat = box.flat()
        self.whole = flat.lower[0], flat.upper[0]
        widest = max((math.prod(node.shape) for node in graph.nodes), default=1)
        numbers = max(widest * len(self.whole[0]), 1)
        self.batch = max(1, min(_MAX_BATCH, _MAX_NUMBERS // numbers))

    def bound(self, lower: Tensor, upper: Tensor) -> Parts:
        found = enclose(self._graph, self._box.from_flat(Interval(lower, upper)))
        bounds = self._norms.bound(found.jacobian)
        bounds = torch.where(bounds.isnan(), math.inf, bounds)
        bounds = torch.where(self._outside(lower, upper), 0.0, bounds)
        nowhere = torch.full((len(lower),), -1)
        zero = torch.zeros_like(bounds)
        return Parts(bounds, zero, _smear(lower, upper, found.jacobian), nowhere, zero)

    def jacobian(self, point: Tensor) -> Tensor:
        """At a point, a matrix between two that are close."""
        row = point.unsqueeze(0)
        found = enclose(self._graph, self._box.from_flat(Interval(row, row)))
        return found.jacobian.midpoint_radius()[0][0]

    def beyond_faces(self, lower: Tensor, upper: Tensor, face: Tensor) -> Tensor:
        """Nothing is proven of faces here."""
        del upper, face
        return torch.full((len(lower),), math.inf, dtype=torch.float64)


def _smear(lower: Tensor, upper: Tensor, jacobian: Interval) -> Tensor:
    """How far the output moves along each input (Kearfott, Rigorous Global Search, 1996, 4.3)."""
    smear = jacobian.magnitude.amax(1) * (upper - lower)
    # Where nothing is known to move, or everything may without bound, the widest input is cut.
    usable = smear.isfinite().all(1, keepdim=True) & (smear > 0).any(1, keepdim=True)
    return torch.where(usable, smear, upper - lower)

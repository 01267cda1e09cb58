"""Where the values of nodes lie on a region, as sharply as one walk tells.

As in `methods.mean_value`: the interval of a value, and the mean value form from the centre, each
made narrower by the other. On a ball, differences from the centre are measured in its own norm: by
Hoelder's inequality |row (x - c)| <= |row|_{p*} radius, which in l2 is up to the square root of the
number of inputs less than on the box around it.
"""

from collections.abc import Mapping
from types import MappingProxyType

import torch

from certisolve_server.certifier.arithmetic import Interval, concatenate, matmul
from certisolve_server.certifier.arithmetic.norms import Norm, operator_norm
from certisolve_server.certifier.arithmetic.rounding import product_up
from certisolve_server.certifier.domain import Boxes, box, seeds, values
from certisolve_server.certifier.interpreter import values_along
from certisolve_server.certifier.problem import Problem
from certisolve_server.certifier.region import Ball
from certisolve_server.certifier.rules import Abstraction

#: Of a Jacobian; beyond, values are intervals alone.
_MOST_ELEMENTS = 1 << 20

_DUAL: Mapping[Norm, Norm] = MappingProxyType({"l1": "linf", "l2": "l2", "linf": "l1"})


def values_of(problem: Problem) -> Mapping[str, Interval] | None:
    """Of each input and node with one result, (1, *shape); None of a region without bounds.

    Raises:
        NotCertified: no bound could be given at some node, which is named.
        UnsupportedOperator: a rule does not hold for some arguments.
    """
    boxes = problem.boxes
    if boxes is None:
        return None
    graph = problem.require_map()
    region = problem.region
    centers = boxes.centers()
    if isinstance(region, Ball):
        centers = box(graph, region.center, region.center)
    at_center = values_along(graph, values(centers))
    form = _Form(boxes, centers, at_center, region if isinstance(region, Ball) else None)
    inputs = seeds(boxes) if _is_small(boxes, graph.nodes) else values(boxes)
    return values_along(graph, inputs, form.sharpened)


def _is_small(boxes: Boxes, nodes: object) -> bool:
    entries = sum(side.lower.numel() for side in boxes.sides.values())
    largest = max((torch.Size(node.shape).numel() for node in nodes), default=1)  # type: ignore[attr-defined]
    return entries * max(largest, entries) <= _MOST_ELEMENTS


class _Form:
    """The mean value form from the centre of a region."""

    def __init__(
        self,
        boxes: Boxes,
        centers: Boxes,
        at_center: Mapping[str, Interval],
        ball: Ball | None,
    ) -> None:
        self._offsets = {name: boxes.sides[name] - centers.sides[name] for name in boxes.sides}
        self._at_center = at_center
        self._ball = ball

    def sharpened(self, name: str, x: Abstraction) -> Abstraction:
        """X with its values in the mean value form as well."""
        if not x.jacobian:
            return x
        columns = {
            source: block.rearranged(
                lambda ends: ends.flatten(2) if ends.ndim > 2 else ends[..., None]
            )
            for source, block in x.jacobian.items()
        }
        reach = self._change(columns)
        if self._ball is not None:
            reach = reach.intersection(self._change_in_ball(columns, self._ball))
        form = self._at_center[name] + reach.rearranged(lambda ends: ends.reshape(1, *x.shape))
        return Abstraction(x.value.intersection(form), x.jacobian)

    def _change(self, columns: Mapping[str, Interval]) -> Interval:
        """J (X - c), (1, 1, entries of the value)."""
        parts = [
            matmul(self._offsets[name].rearranged(lambda ends: ends.flatten(1)[:, None]), block)
            for name, block in columns.items()
        ]
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        return total

    def _change_in_ball(self, columns: Mapping[str, Interval], ball: Ball) -> Interval:
        """All that is as large as |row|_{p*} radius, (1, 1, entries of the value)."""
        rows = concatenate(list(columns.values()), 1).rearranged(lambda ends: ends.mT[0, :, None])
        norms = operator_norm(rows, ball.norm, _DUAL[ball.norm])
        radius = torch.tensor(ball.radius, dtype=torch.float64)
        reach = product_up(norms, radius)[None, None]
        return Interval(-reach, reach)

"""Sets of inputs: a box for each varying input, and many of them side by side."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor

from .arithmetic import Interval
from .errors import InvalidRequest
from .graph.node import Graph
from .rules import Abstraction


@dataclass(frozen=True)
class Boxes:
    """Boxes of equal shape: per varying input an interval of (boxes, *shape), in graph order.

    A ball of any norm is certified on the box around it; constants on a set hold on its parts.
    """

    sides: Mapping[str, Interval]

    def __len__(self) -> int:
        return int(next(iter(self.sides.values())).shape[0])

    def flat(self) -> Interval:
        """(boxes, entries): the entries of all inputs one after another."""
        lower = torch.cat([each.lower.flatten(1) for each in self.sides.values()], 1)
        upper = torch.cat([each.upper.flatten(1) for each in self.sides.values()], 1)
        return Interval(lower, upper)

    def centers(self) -> "Boxes":
        """One point inside of each box."""
        points = {
            name: Interval.exact(each.midpoint_radius()[0].clamp(each.lower, each.upper))
            for name, each in self.sides.items()
        }
        return Boxes(MappingProxyType(points))

    def from_flat(self, flat: Interval) -> "Boxes":
        """Boxes of the same inputs from `flat` of them."""
        sides, start = {}, 0
        for name, each in self.sides.items():
            stop = start + each.lower[0].numel()
            shape = tuple(each.shape[1:])
            ends = (end[:, start:stop].reshape(-1, *shape) for end in (flat.lower, flat.upper))
            sides[name] = Interval(*ends)
            start = stop
        return Boxes(MappingProxyType(sides))


def box(graph: Graph, lower: Mapping[str, Tensor], upper: Mapping[str, Tensor]) -> Boxes:
    """One box, its ends included and taken exactly.

    Args:
        graph: whose varying inputs the box is of.
        lower: one corner, a tensor of the input's shape for each.
        upper: the opposite one.

    Raises:
        InvalidRequest: an input is missing, unknown or of another shape, or its ends are crossed,
            infinite or NaN.
    """
    names = {each.name for each in graph.inputs}
    if lower.keys() != names or upper.keys() != names:
        raise InvalidRequest(f"a box has sides for {sorted(names)}")
    sides = {}
    for each in graph.inputs:
        ends = [torch.as_tensor(end[each.name], dtype=torch.float64) for end in (lower, upper)]
        if any(tuple(end.shape) != each.shape for end in ends):
            raise InvalidRequest(f"the box of {each.name!r} has another shape than {each.shape}")
        if not bool(((ends[0] <= ends[1]) & ends[0].isfinite() & ends[1].isfinite()).all()):
            raise InvalidRequest(f"the box of {each.name!r} is not finite, or its ends are crossed")
        sides[each.name] = Interval(ends[0].unsqueeze(0), ends[1].unsqueeze(0))
    return Boxes(MappingProxyType(sides))


def values(boxes: Boxes) -> Mapping[str, Abstraction]:
    """The inputs, without slopes."""
    return {name: Abstraction(side) for name, side in boxes.sides.items()}


def seeds(boxes: Boxes) -> Mapping[str, Abstraction]:
    """The inputs, each with the slopes of the identity."""
    seeded = {}
    for name, side in boxes.sides.items():
        shape = tuple(side.shape[1:])
        identity = torch.eye(side.lower[0].numel(), dtype=torch.float64)
        block = Interval.exact(identity.reshape(1, -1, *shape))
        seeded[name] = Abstraction(side, MappingProxyType({name: block}))
    return seeded

"""Parts of a region on which arguments of nonlinearities are restricted, cut from each other.

A cut of z at c makes two parts, z <= c and z >= c, which cover what they were cut from. At a kink c
each takes the slopes of its side with it, so that together they have all slopes there are.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import torch
from torch import Tensor

from .cells import Clip
from .network import Network


@dataclass(frozen=True)
class Cut:
    """Of the argument of neuron `neuron` of layer `layer`, counted from 1, at `place`."""

    layer: int
    neuron: int
    place: float


#: A cut, and whether what is meant is above it.
Side: TypeAlias = tuple[Cut, bool]

#: How much the inequality of a side weighs in a proof that a part has no points.
Multiplier: TypeAlias = tuple[Side, float]


@dataclass(eq=False)
class Part:
    """A node of a tree of cuts.

    Args:
        row: of the Jacobian, whose norm is bounded; -1 for the norm of all rows together.
        parent: what it was cut from.
        is_above: whether it is the part above the cut of its parent.
        cut: how it is cut, or is best cut, itself.
        bound: of the norm on it, by itself; inf as long as there is none.
        multipliers: what is to prove that it is empty.
        inside: a point, (inputs,), that is likely to be in it.
        least: the least one of it and all that it was cut from.
    """

    row: int
    parent: "Part | None" = None
    is_above: bool = False
    cut: Cut | None = None
    bound: float = torch.inf
    multipliers: tuple[Multiplier, ...] = ()
    inside: Tensor | None = None
    least: float = torch.inf
    children: "tuple[Part, ...]" = field(default_factory=tuple)

    def split(self, cut: Cut) -> "tuple[Part, Part]":
        """The parts below and above a cut."""
        self.cut = cut
        below, above = Part(self.row, self), Part(self.row, self, is_above=True)
        self.children = (below, above)
        return below, above

    def cuts(self) -> Iterator[Side]:
        """Each cut that made it, with its side."""
        part = self
        while part.parent is not None and part.parent.cut is not None:
            yield part.parent.cut, part.is_above
            part = part.parent


def clips(network: Network, parts: Sequence[Part]) -> dict[int, Clip]:
    """How the arguments are restricted, by layer: (parts, neurons)."""
    lower, upper = {}, {}
    for number, layer in enumerate(network.layers, start=1):
        lower[number] = torch.full((len(parts), layer.neurons), -torch.inf, dtype=torch.float64)
        upper[number] = -lower[number]
    for i, part in enumerate(parts):
        for cut, is_above in part.cuts():
            at = i, cut.neuron
            if is_above:
                lower[cut.layer][at] = max(float(lower[cut.layer][at]), cut.place)
            else:
                upper[cut.layer][at] = min(float(upper[cut.layer][at]), cut.place)
    return {number: Clip(lower[number], upper[number]) for number in lower}

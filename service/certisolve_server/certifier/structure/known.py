"""What a walk knows of each node; the slopes of a bare source are made when they are asked for."""

import math
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch

from certisolve_server.certifier.arithmetic import Interval
from certisolve_server.certifier.errors import NotCertified
from certisolve_server.certifier.graph.node import Node
from certisolve_server.certifier.rules import Abstraction

#: Of a matrix between two sources, and of the identity on one; larger ones are not made.
MOST_ELEMENTS = 1 << 22
MOST_ELEMENTS_OF_IDENTITY = 1 << 20

#: What leaves all numbers in their order.
_RESHAPING = frozenset(
    f"aten.{name}"
    for name in (
        "alias.default",
        "clone.default",
        "contiguous.default",
        "detach.default",
        "flatten.using_ints",
        "reshape.default",
        "squeeze.default",
        "squeeze.dim",
        "to.dtype",
        "unflatten.int",
        "unsqueeze.default",
        "view.default",
    )
)


class TooLarge(NotCertified):
    """Matrices of affine runs would be too large; operators may still do."""


@dataclass(frozen=True, eq=False)
class Source:
    """A source by its name, in some shape, and where it lies: (1, *shape)."""

    name: str
    value: Interval


class Known(dict[str, Any]):
    """By node; of a source as it is, the abstraction has the slopes of the identity."""

    def __init__(self) -> None:
        super().__init__()
        self.bare: dict[str, Source] = {}

    def begin(self, name: str, value: Interval) -> None:
        """A new source, of which nothing is known but where it lies."""
        self.bare[name] = Source(name, value)

    def reshaped(self, node: Node) -> bool:
        """Takes note of a source in another shape; whether the node is that."""
        source = self.bare.get(node.refs[0].name) if node.refs else None
        if source is None or node.operator not in _RESHAPING:
            return False
        value = source.value.rearranged(lambda ends: ends.reshape(1, *node.shape))
        self.bare[node.name] = Source(source.name, value)
        return True

    def __missing__(self, name: str) -> Abstraction:
        source = self.bare[name]
        shape = tuple(source.value.shape[1:])
        size = math.prod(shape)
        require_elements(size * size, MOST_ELEMENTS_OF_IDENTITY)
        identity = torch.eye(size, dtype=torch.float64).reshape(1, size, *shape)
        slopes = MappingProxyType({source.name: Interval.exact(identity)})
        self[name] = Abstraction(source.value, slopes)
        return self[name]  # type: ignore[no-any-return]


def require_elements(elements: int, most: int = MOST_ELEMENTS) -> None:
    """Of a matrix.

    Raises:
        TooLarge: it has more.
    """
    if elements > most:
        raise TooLarge(f"an affine run has a matrix of {elements} elements, which is too large")

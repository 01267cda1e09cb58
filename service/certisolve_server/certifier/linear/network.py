"""A graph as affine maps with functions of one number between them, and offsets kept.

    z_k = sum_j A_kj h_j + b_k,   h_k = f_k(z_k),   y = sum_j A_j h_j + b

where h_0 are all varying inputs, flattened. Its chain rule, with e a row vector over outputs, is

    a_k = sum_l d_l A_lk + e A_k,   d_k = f_k'(z_k) a_k,   G = sum_l d_l A_l0 + e A_0 = e Dy.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from certisolve_server.certifier.arithmetic import Interval
from certisolve_server.certifier.functions import Function


@dataclass(frozen=True, eq=False)
class Matrix:
    """A matrix known to lie in an interval, (rows, columns)."""

    interval: Interval

    @cached_property
    def center(self) -> Tensor:
        return self._midpoint_radius[0]

    @cached_property
    def radius(self) -> Tensor:
        """At least the distance of any member from the center."""
        return self._midpoint_radius[1]

    @cached_property
    def sizes(self) -> Tensor:
        """Of the elements of the center."""
        return self.center.abs()

    @cached_property
    def _midpoint_radius(self) -> tuple[Tensor, Tensor]:
        return self.interval.midpoint_radius()


@dataclass(frozen=True, eq=False)
class Affine:
    """sum_j A_j h_j + b.

    Args:
        maps: A_j by number of the source j, 0 for the inputs.
        offset: b, (rows,).
    """

    maps: Mapping[int, Matrix]
    offset: Interval

    @property
    def rows(self) -> int:
        return int(self.offset.shape[0])


@dataclass(frozen=True, eq=False)
class Layer:
    """h = f(z), entry by entry, of z = argument."""

    function: Function
    argument: Affine

    @property
    def neurons(self) -> int:
        return self.argument.rows


@dataclass(frozen=True, eq=False)
class Network:
    """Number k of the layers is the source k, from 1 on, and refers to earlier ones alone."""

    inputs: int
    layers: tuple[Layer, ...]
    output: Affine

    @property
    def depth(self) -> int:
        return len(self.layers)

    @cached_property
    def widest(self) -> int:
        """Most entries of a source."""
        return max(self.inputs, *(layer.neurons for layer in self.layers), 1)

    @cached_property
    def consumers(self) -> tuple[tuple[tuple[int, Matrix], ...], ...]:
        """By source: the layers that it goes into and their matrices; the output not counted."""
        found: list[list[tuple[int, Matrix]]] = [[] for _ in range(self.depth + 1)]
        for number, layer in enumerate(self.layers, start=1):
            for source, matrix in layer.argument.maps.items():
                found[source].append((number, matrix))
        return tuple(tuple(each) for each in found)

"""How far two values of one node can be apart: entry by entry, and in length.

Lengths are what keeps deep networks apart from nonsense: the sizes of weights multiply up from
layer to layer, |W_L| ... |W_1|, while a length grows by spectral norms.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from certisolve_server.certifier.arithmetic import Interval, spectral_norm
from certisolve_server.certifier.arithmetic.rounding import product_up, sqrt_up, sum_up, up
from certisolve_server.certifier.arithmetic.sums import sum_of_sizes

#: Matrices of at most so many entries have their spectral norm computed; of others the length.
_SPECTRAL = 1 << 18


@dataclass(frozen=True, eq=False)
class Deviation:
    """A set of differences d: |d_i| <= entries_i, and |d|_2 <= length.

    Args:
        entries: in the shape of the node, not negative, possibly inf.
        length: of one number.
    """

    entries: Tensor
    length: Tensor

    @classmethod
    def within(cls, entries: Tensor, length: Tensor | None = None) -> "Deviation":
        """Each bound sharpened by the other."""
        own = euclidean(entries)
        shorter = own if length is None else torch.minimum(own, length)
        return cls(torch.minimum(entries, shorter), shorter)

    @classmethod
    def none(cls, shape: tuple[int, ...]) -> "Deviation":
        """No difference."""
        return cls(torch.zeros(shape, dtype=torch.float64), number(0.0))

    @property
    def is_none(self) -> bool:
        """Whether both values are the same."""
        return float(self.length) == 0.0

    def plus(self, other: "Deviation") -> "Deviation":
        """Sums of members of both."""
        return Deviation.within(
            sum_up(self.entries, other.entries), sum_up(self.length, other.length)
        )

    def scaled(self, factor: Tensor | float) -> "Deviation":
        """All of it times a number that is not negative."""
        by = number(factor)
        return Deviation.within(product_up(self.entries, by), product_up(self.length, by))

    def broadcast(self, shape: tuple[int, ...]) -> "Deviation":
        """Repeated as broadcasting does."""
        if tuple(self.entries.shape) == tuple(shape):
            return self
        times = math.prod(shape) / max(1, self.entries.numel())
        return Deviation.within(
            self.entries.expand(shape), product_up(self.length, sqrt_up(number(times)))
        )


@dataclass(frozen=True, eq=False)
class Known:
    """What is known of both values of a node.

    Args:
        hull: where both lie.
        deviation: how far they are apart.
        varies: whether they depend on the varying inputs.
    """

    hull: Interval
    deviation: Deviation
    varies: bool

    @property
    def size(self) -> Tensor:
        """The largest absolute value, entry by entry."""
        return self.hull.magnitude

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the node."""
        return tuple(self.hull.shape)

    @cached_property
    def norm(self) -> Tensor:
        """At least the largest spectral norm of a stack of matrices."""
        rows, columns = self.shape[-2:]
        if self.varies or rows * columns > _SPECTRAL:
            return euclidean(self.size)
        return spectral_norm(self.hull).amax()

    @cached_property
    def transposed(self) -> "Known":
        """Of a matrix or a stack of them."""
        hull = self.hull.rearranged(lambda ends: ends.mT)
        deviation = Deviation(self.deviation.entries.mT, self.deviation.length)
        return Known(hull, deviation, self.varies)

    def broadcast(self, shape: tuple[int, ...]) -> "Known":
        """Repeated as broadcasting does."""
        hull = self.hull.rearranged(lambda ends: ends.expand(shape))
        return Known(hull, self.deviation.broadcast(shape), self.varies)


def euclidean(sizes: Tensor) -> Tensor:
    """At least the l2 norm of all entries."""
    flat = sizes.flatten()
    return sqrt_up(sum_of_sizes(product_up(flat, flat), -1))


def number(value: Tensor | float) -> Tensor:
    """One float64 that is not below the number."""
    if isinstance(value, Tensor):
        return value
    return torch.tensor(value, dtype=torch.float64)


def largest(sizes: Tensor) -> Tensor:
    """The largest entry; 0 of none."""
    return sizes.amax() if sizes.numel() else number(0.0)


def widened(hull: Interval, deviation: Deviation) -> Interval:
    """Of values within the hull, with others that are off by the deviation."""
    return hull + Interval(-deviation.entries, deviation.entries)


def rounded(sizes: Tensor, relative: float, absolute: float) -> Deviation:
    """What rounding adds to results of these sizes."""
    share = up(number(relative)) if relative else number(0.0)
    return Deviation.within(sum_up(product_up(sizes, share), number(absolute)))

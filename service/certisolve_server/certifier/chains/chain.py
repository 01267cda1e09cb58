"""What the methods of this package bound: affine maps with functions of one number between them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch

from certisolve_server.certifier.arithmetic import Interval, Operand, as_interval
from certisolve_server.certifier.arithmetic.rounding import Numbers
from certisolve_server.certifier.errors import InvalidRequest, NotCertified
from certisolve_server.certifier.functions.function import Function


@dataclass(frozen=True, eq=False)
class Slopes:
    """Between which numbers (f(s) - f(t)) / (s - t) lies, neuron by neuron.

    Args:
        least: alpha, (neurons,).
        most: beta, (neurons,), not below alpha.
    """

    least: Numbers
    most: Numbers

    def __post_init__(self) -> None:
        finite = self.least.isfinite() & self.most.isfinite()
        if not bool((finite & (self.least <= self.most)).all()):
            raise NotCertified("slopes of a layer are unbounded, crossed or NaN")
        if self.least.ndim != 1 or self.least.shape != self.most.shape:
            raise InvalidRequest("one least and one greatest slope for each neuron")

    @classmethod
    def of(cls, function: Function, neurons: int) -> "Slopes":
        """Of a function on the whole line.

        Raises:
            OutsideDomain: it is not defined there.
            NotCertified: its slopes have no bound.
        """
        slopes = function.derivative(Interval.entire((neurons,)))
        return cls(slopes.lower, slopes.upper)

    @property
    def neurons(self) -> int:
        """How many there are."""
        return self.least.shape[0]

    @property
    def cap(self) -> Numbers:
        """The largest size of a slope, (neurons,)."""
        return torch.maximum(self.least.abs(), self.most.abs())

    def repeated(self, copies: int) -> "Slopes":
        """The same, one copy after the other."""
        return Slopes(self.least.repeat(copies), self.most.repeat(copies))


@dataclass(frozen=True, eq=False)
class Chain:
    """x -> A_L f_{L-1}(... f_1(A_1 x + b_1) ...) + b_L; the b do not matter.

    A batch of maps is a block diagonal one, as convolutions are in the basis of Fourier; a function
    of one number mixes the blocks, but as each channel has one function, and one multiplier, at
    all points, its quadratic constraint, summed over the points, is block diagonal too.

    Args:
        maps: A_1 to A_L, exact or enclosed, (..., rows, columns), batches broadcast.
        slopes: of f_1 to f_{L-1}.
        copies: how many rows each neuron stands for, copy by copy: 2 where the rows are real parts
            and then imaginary ones.
    """

    maps: tuple[Interval, ...]
    slopes: tuple[Slopes, ...]
    copies: int = 1

    def __post_init__(self) -> None:
        if len(self.maps) != len(self.slopes) + 1:
            raise InvalidRequest(f"{len(self.maps)} maps with {len(self.slopes)} layers between")
        for before, after, slopes in zip(self.maps, self.maps[1:], self.slopes, strict=False):
            rows = slopes.neurons * self.copies
            if before.shape[-2] != rows or after.shape[-1] != rows:
                raise InvalidRequest(
                    f"{rows} rows of neurons between maps {before.shape} and {after.shape}"
                )
        if not all(bool(a.magnitude.isfinite().all()) for a in self.maps):
            raise NotCertified("a map has elements without a bound")

    @classmethod
    def of(cls, maps: Sequence[Operand], slopes: Sequence[Slopes]) -> "Chain":
        """From plain matrices or intervals of them."""
        return cls(tuple(as_interval(a) for a in maps), tuple(slopes))

    @cached_property
    def rows(self) -> tuple[Slopes, ...]:
        """The slopes of each row of A_1 to A_{L-1}."""
        return tuple(slopes.repeated(self.copies) for slopes in self.slopes)

    @cached_property
    def centers(self) -> tuple[Numbers, ...]:
        """The maps as floats near them: for a search, not for a proof."""
        return tuple(a.midpoint_radius()[0] for a in self.maps)

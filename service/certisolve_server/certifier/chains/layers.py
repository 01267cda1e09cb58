"""What is between two maps of a chain, and what is known of its differences."""

from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import torch

from certisolve_server.certifier.arithmetic import Interval
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
    def multipliers(self) -> int:
        """How many a quadratic constraint of this layer has."""
        return self.neurons

    @property
    def cap(self) -> Numbers:
        """The largest size of a slope, (neurons,)."""
        return torch.maximum(self.least.abs(), self.most.abs())

    @cached_property
    def center_and_spread(self) -> tuple[Interval, Interval]:
        """(c, eta), (neurons,) each, so that |f(s) - f(t) - c (s - t)| <= eta |s - t|."""
        alpha, beta = Interval.exact(self.least), Interval.exact(self.most)
        return (alpha + beta) * 0.5, (beta - alpha) * 0.5

    def repeated(self, copies: int) -> "Slopes":
        """The same, one copy after the other."""
        return Slopes(self.least.repeat(copies), self.most.repeat(copies))


@dataclass(frozen=True, eq=False)
class Folding:
    """Functions of groups of numbers that fold space: GroupSort, MaxMin and Householder's.

    Of differences u of arguments and v of values of a group, |v| <= |u|, and either its part along
    an axis is kept, as the mean by GroupSort, or all but that part, as by Householder's function
    (Pauli et al., ICLR 2024, theorem 1).

    Args:
        axes: s of each group of consecutive rows, not 0, of any length, (groups, size).
    """

    axes: Numbers

    def __post_init__(self) -> None:
        if self.axes.ndim != 2 or not bool(self.axes.isfinite().all()):
            raise InvalidRequest("one finite axis for each group")
        if not bool((self.axes != 0).any(-1).all()):
            raise InvalidRequest("the axis of a group is 0")

    @classmethod
    def group_sort(cls, neurons: int, size: int) -> "Folding":
        """Sorting groups of so many consecutive rows; MaxMin where there are two."""
        if size < 1 or neurons % size:
            raise InvalidRequest(f"groups of {size} do not divide {neurons} neurons")
        return cls(torch.ones(neurons // size, size, dtype=torch.float64))

    @classmethod
    def householder(cls, directions: Numbers) -> "Folding":
        """Keeps z where s.z > 0, and takes its mirror image z - 2 s (s.z) / (s.s) elsewhere."""
        return cls(directions)

    @property
    def neurons(self) -> int:
        """How many numbers there are in all groups."""
        return self.axes.numel()

    @property
    def groups(self) -> int:
        """How many there are."""
        return self.axes.shape[0]

    @property
    def multipliers(self) -> int:
        """How many a quadratic constraint of this layer has."""
        return 2 * self.groups

    @property
    def cap(self) -> Numbers:
        """1 for each neuron: no difference grows."""
        return torch.ones(self.neurons, dtype=torch.float64)

    @cached_property
    def center_and_spread(self) -> tuple[Interval, Interval]:
        """(0, 1): of all differences of a group together."""
        return Interval.exact(self.cap * 0.0), Interval.exact(self.cap)

    def repeated(self, copies: int) -> "Folding":
        """The same, one copy after the other."""
        return Folding(self.axes.repeat(copies, 1))


#: What is between two maps.
Layer: TypeAlias = Slopes | Folding

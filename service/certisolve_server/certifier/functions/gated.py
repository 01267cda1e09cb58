"""x G(x), G a gate that rises from 0 to 1: what silu and both forms of gelu have in common."""

import math
from abc import abstractmethod
from typing import ClassVar

import torch

from certisolve_server.certifier.arithmetic import Interval

from .function import Function
from .pieces import Extremum, Tail, on_pieces
from .sampled import Sampled, Turn

_LARGEST = torch.finfo(torch.float64).max


class Gated(Function):
    """Falls from 0 to its one minimum, then grows without end.

    Its slope falls from 0 to its least value, rises to its largest one, and falls to 1; both lie
    at opposite places, the slope less 1/2 being odd.

    Attributes:
        minimum: where the slope is 0.
        steepest: where the second derivative is 0, on the positive side.
        far: from there outward, on both sides, values and slopes only tend to their limits.
    """

    minimum: ClassVar[Extremum]
    steepest: ClassVar[Extremum]
    far: ClassVar[float]

    @staticmethod
    @abstractmethod
    def near_value(x: Interval) -> Interval:
        """Holds the values on x, tight if x is narrow."""

    @staticmethod
    @abstractmethod
    def near_slope(x: Interval) -> Interval:
        """Holds the slopes on x, tight if x is narrow."""

    @property
    def opposite(self) -> Extremum:
        """Where the slope is least."""
        return Extremum(-self.steepest.upper, -self.steepest.lower)

    def value(self, x: Interval) -> Interval:
        left, right = Tail(-self.far, 0.0), Tail(_LARGEST, math.inf)
        return on_pieces(self.near_value, x, (self.minimum,), left, right)

    def derivative(self, x: Interval) -> Interval:
        left, right = Tail(-self.far, 0.0), Tail(self.far, 1.0)
        return on_pieces(self.near_slope, x, (self.opposite, self.steepest), left, right)


class SampledGate(Gated, Sampled):
    """Of which samples are known wherever it is not yet next to its limits.

    Attributes:
        curved: where the third derivative is 0: least, largest and least second derivative.
    """

    curved: ClassVar[tuple[Extremum, Extremum, Extremum]]

    @staticmethod
    @abstractmethod
    def near_curvature(x: Interval) -> Interval:
        """Holds the second derivatives on x, tight if x is narrow."""

    @property
    def near(self) -> float:
        return self.far

    def second_derivative(self, x: Interval) -> Interval:
        left, right = Tail(-self.far, 0.0), Tail(self.far, 0.0)
        return on_pieces(self.near_curvature, x, self.curved, left, right)

    def turns(self) -> list[list[Turn]]:
        slope, curvature = self.near_slope, self.near_curvature
        first, top, last = self.curved
        return [
            [Turn(self.minimum, self.near_value, False)],
            [Turn(self.opposite, slope, False), Turn(self.steepest, slope, True)],
            [
                Turn(first, curvature, False),
                Turn(top, curvature, True),
                Turn(last, curvature, False),
            ],
        ]

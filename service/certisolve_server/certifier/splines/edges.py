"""w silu(x) + s(x) with a spline s: the functions on the edges of Kolmogorov-Arnold networks.

On a knot cell, s is a polynomial of degree 3 at most. With silu in Taylor form about the middle m
of an interval of radius r in the cell, values, slopes and second derivatives are quadratics in
x - m with a remainder of the order of r^3, r^2 and r, whose ranges are known in closed form; both
parts are bounded jointly, and by themselves as well. Beyond the last knots s is 0.

Intervals that reach over several cells are cut at knots; ranges on whole cells are tabulated.
"""

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from certisolve_server.certifier.arithmetic import Interval
from certisolve_server.certifier.functions import JointFunction
from certisolve_server.certifier.functions.silu import Silu

from .base import BaseJet
from .cells import Polynomials
from .pieces import MAX_DEGREE, cell_polynomials
from .quadratics import ROUNDINGS, SMALLEST, quadratic_range
from .running import RangeTable

_SILU = Silu()

_ORDERS = (0, 1, 2)

#: Of whole cells that are bounded beforehand.
_PARTS = 8


class SplineEdges(JointFunction):
    """One function for each pair of an input and an output.

    Args:
        knots: (inputs, count), strictly growing.
        coefficients: (inputs, count - 1 - degree, outputs), of each B-spline.
        base: w, (inputs, outputs).
        degree: of the splines, from 1 to 3.

    Raises:
        ValueError: another degree.
    """

    def __init__(self, knots: Tensor, coefficients: Tensor, base: Tensor, degree: int) -> None:
        if not 1 <= degree <= MAX_DEGREE:
            raise ValueError(f"splines of degree 1 to {MAX_DEGREE}, not {degree}")
        self._degree = degree
        self._shape = tuple(base.shape)
        outputs = base.shape[1]
        self._knots = knots.repeat_interleave(outputs, 0)
        self._base = base.reshape(-1, 1)
        flat = [
            each.rearranged(lambda ends: ends.flatten(0, 1))
            for each in cell_polynomials(knots, coefficients, degree)
        ]
        self._polynomials = Polynomials(self._knots, flat)
        self._whole = [RangeTable(*ends) for ends in self._of_whole_cells()]

    def jet(self, x: Interval, orders: Sequence[int] = _ORDERS) -> list[Interval]:
        """Ranges of derivatives of these orders, 0 to 2, at once.

        Of splines of degree 1 the second has no bounds: their slopes jump.

        Args:
            x: (..., inputs, 1) or (..., inputs, outputs).
            orders: whose ranges are asked for.

        Returns:
            (..., inputs, outputs) each.
        """
        leading = x.shape[:-2]
        lower, upper = (
            end.expand(*leading, *self._shape).reshape(-1, self._base.shape[0]).mT.contiguous()
            for end in (x.lower, x.upper)
        )
        found = self._ranges(lower, upper, orders)
        shape = (*leading, *self._shape)
        return [Interval(low.mT.reshape(shape), high.mT.reshape(shape)) for low, high in found]

    def _ranges(
        self, lower: Tensor, upper: Tensor, orders: Sequence[int]
    ) -> list[tuple[Tensor, Tensor]]:
        """(edges, queries) each: both outer cells by themselves, those between from the tables."""
        # At a knot both neighbours count.
        first = torch.searchsorted(self._knots, lower)
        last = torch.searchsorted(self._knots, upper, right=True)
        ends, starts = self._polynomials.ends, self._polynomials.starts
        pieces = [
            self._on_cells(first, lower, torch.minimum(upper, ends.gather(1, first)), orders),
            self._on_cells(last, torch.maximum(lower, starts.gather(1, last)), upper, orders),
        ]
        between = last - first > 1
        if bool(between.any()):
            # Cell 0 lies before the knots, so the tables, of real cells alone, start at 1.
            low, high = torch.where(between, first, 0), torch.where(between, last - 2, 0)
            inner = [self._whole[order].hull(low, high) for order in orders]
            pieces.append(
                [
                    (torch.where(between, a, torch.inf), torch.where(between, b, -torch.inf))
                    for a, b in inner
                ]
            )
        return [_hull([piece[i] for piece in pieces]) for i in range(len(orders))]

    def _of_whole_cells(self) -> list[tuple[Tensor, Tensor]]:
        cells = self._knots.shape[1] - 1
        numbers = torch.arange(1, cells + 1).expand(self._knots.shape[0], -1)
        start, end = self._knots[:, :-1], self._knots[:, 1:]
        # In parts, on each of which little is lost.
        inner = [start + (end - start) * (part / _PARTS) for part in range(1, _PARTS)]
        sides = itertools.pairwise([start, *inner, end])
        pieces = [self._on_cells(numbers, low, high, _ORDERS) for low, high in sides]
        return [_hull([piece[i] for piece in pieces]) for i in range(len(_ORDERS))]

    def _on_cells(
        self, cell: Tensor, lower: Tensor, upper: Tensor, orders: Sequence[int]
    ) -> list[tuple[Tensor, Tensor]]:
        """Ranges on [lower, upper], inside of one cell each."""
        middle = (0.5 * lower + 0.5 * upper).nan_to_num(0.0, 0.0, 0.0)
        radius = torch.maximum(upper - middle, middle - lower) * (1.0 + ROUNDINGS) + SMALLEST
        at = self._polynomials.at(cell, middle)
        sides = Interval(lower, upper)
        smooth = self._base_jet(middle)
        ranges = dict(zip(orders, _SILU.jet(sides, orders), strict=True))
        found = []
        for order in orders:
            spline = at.derivative(order)
            reach = at.reach(radius)
            of_spline = quadratic_range(*spline[:3], reach, spline[3] + at.tail(order, reach))
            alone = _plus(of_spline, self._base, ranges[order])
            a, b, c = (s + m for s, m in zip(spline[:3], smooth.quadratic(order), strict=True))
            slack = spline[3] + at.tail(order, reach) + smooth.slack(order, radius)
            joint = quadratic_range(a, b, c, radius, slack)
            found.append((torch.maximum(alone[0], joint[0]), torch.minimum(alone[1], joint[1])))
        if self._degree == 1 and 2 in orders:
            found[list(orders).index(2)] = _unknown(lower)
        return found

    def _base_jet(self, middle: Tensor) -> BaseJet:
        if float(middle.abs().amax()) <= _SILU.near:
            balls = [(sample.value, sample.error) for sample in _SILU.samples(middle)]
        else:
            balls = [each.midpoint_radius() for each in _SILU.jet(Interval.exact(middle), _ORDERS)]
        return BaseJet([_scaled(ball, self._base) for ball in balls], self._base.abs())


def _scaled(ball: tuple[Tensor, Tensor], weight: Tensor) -> tuple[Tensor, Tensor]:
    """A ball times numbers."""
    center = ball[0] * weight
    error = ball[1] * weight.abs() + ROUNDINGS * center.abs()
    return center, error * (1.0 + ROUNDINGS) + SMALLEST


def _plus(ends: tuple[Tensor, Tensor], weight: Tensor, other: Interval) -> tuple[Tensor, Tensor]:
    """Bounds of a sum whose second part is an interval times numbers."""
    one, two = weight * other.lower, weight * other.upper
    # Of 0 times an endless side.
    low, high = torch.fmin(one, two).nan_to_num(0.0, torch.inf, -torch.inf), torch.fmax(one, two)
    high = high.nan_to_num(0.0, torch.inf, -torch.inf)
    lower, upper = ends[0] + low, ends[1] + high
    return (
        lower - ROUNDINGS * (low.abs() + ends[0].abs()).nan_to_num(0.0, 0.0) - SMALLEST,
        upper + ROUNDINGS * (high.abs() + ends[1].abs()).nan_to_num(0.0, 0.0) + SMALLEST,
    )


def _hull(pieces: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    lower, upper = pieces[0]
    for low, high in pieces[1:]:
        lower, upper = torch.minimum(lower, low), torch.maximum(upper, high)
    return lower, upper


def _unknown(like: Tensor) -> tuple[Tensor, Tensor]:
    everything = torch.full_like(like, torch.inf)
    return -everything, everything

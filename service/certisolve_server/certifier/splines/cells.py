"""The polynomials of splines on knot cells, shifted to any point of a cell."""

from collections.abc import Sequence

import torch
from torch import Tensor

from certisolve_server.certifier.arithmetic import Interval

from .pieces import MAX_DEGREE, derivative_factor
from .quadratics import ROUNDINGS, SMALLEST

_ORDERS = (0, 1, 2)


class Polynomials:
    """The spline of each edge on each cell, those before and after all knots included.

    Attributes:
        starts, ends: (edges, cells + 2).
    """

    def __init__(self, knots: Tensor, polynomials: Sequence[Interval]) -> None:
        outside = torch.full_like(knots[:, :1], torch.inf)
        self.starts = torch.cat([-outside, knots], 1)
        self.ends = torch.cat([knots, outside], 1)
        widths = (knots[:, 1:] - knots[:, :-1]) * (1.0 + ROUNDINGS)
        balls = [each.midpoint_radius() for each in polynomials]
        missing = MAX_DEGREE + 1 - len(balls)
        zero = torch.zeros_like(balls[0][0])
        centers = [center for center, _ in balls] + [zero] * missing
        radii = [radius for _, radius in balls] + [zero] * missing
        errors = [_error(centers, radii, widths, order) for order in _ORDERS]
        origin = [knots[:, :-1]]
        rows = [_with_outside(each) for each in (*centers, *errors, *origin)]
        self._table = torch.stack(rows)

    def at(self, cell: Tensor, middle: Tensor) -> "Shifted":
        """About points of cells, (edges, queries)."""
        index = cell.unsqueeze(0).expand(self._table.shape[0], -1, -1)
        rows = self._table.gather(2, index).unbind(0)
        inside = (cell > 0) & (cell < self.ends.shape[1] - 1)
        offset = torch.where(inside, middle - rows[-1], 0.0)
        return Shifted(rows[:4], rows[4:7], offset, inside)


class Shifted:
    """One spline polynomial per query, to be shifted to a point of its cell."""

    def __init__(
        self,
        coefficients: Sequence[Tensor],
        errors: Sequence[Tensor],
        offset: Tensor,
        inside: Tensor,
    ) -> None:
        self._coefficients, self._errors, self._offset = coefficients, errors, offset
        self._inside = inside

    def reach(self, radius: Tensor) -> Tensor:
        """How far from the point the spline is to be looked at: beyond the knots it is 0."""
        return torch.where(self._inside, radius, 0.0)

    def derivative(self, order: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(a, b, c) of the derivative of an order about the point, and the error of all of it."""
        parts = [self._taylor(order, power) for power in range(3)]
        return parts[0], parts[1], parts[2], self._errors[order]

    def tail(self, order: int, radius: Tensor) -> Tensor:
        """At least what the cubic term adds, where there is one."""
        if order > 0:
            return torch.zeros_like(radius)
        return self._coefficients[3].abs() * radius**3 * (1.0 + ROUNDINGS)

    def _taylor(self, order: int, power: int) -> Tensor:
        """The (order + power)th derivative over power!, by Horner's rule."""
        first = order + power
        result = torch.zeros_like(self._offset)
        for k in range(MAX_DEGREE, first - 1, -1):
            factor = derivative_factor(k, first) / (1, 1, 2)[power]
            result = result * self._offset + factor * self._coefficients[k]
        return result


def _error(
    centers: Sequence[Tensor], radii: Sequence[Tensor], widths: Tensor, order: int
) -> Tensor:
    """At least the error of a derivative anywhere in a cell, from Horner's rule about any point.

    Coefficients are off by their radii, the offset of the point by a rounding, and each of at most
    8 operations by one more, of sums whose terms are at most those of the sizes at the whole width
    w; shifted to a point and back, terms come to at most 2^3 times as much.
    """
    total = torch.zeros_like(widths)
    for power in range(order, MAX_DEGREE + 1):
        size = 8.0 * derivative_factor(power, order) * widths ** (power - order)
        total = total + size * (radii[power] + ROUNDINGS * centers[power].abs())
    return total * (1.0 + ROUNDINGS) + SMALLEST


def _with_outside(row: Tensor) -> Tensor:
    """With zeros for what lies before and after all knots."""
    zero = torch.zeros_like(row[:, :1])
    return torch.cat([zero, row, zero], 1)

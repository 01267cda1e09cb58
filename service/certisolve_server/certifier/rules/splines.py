"""B-splines on an interval: of each knot cell that it reaches, the Bezier points.

On a cell a B-spline is a polynomial of degree p; with its polar form f (blossom), its values on
[a, b] lie in the convex hull of f(a, ..., a), f(a, ..., a, b), ..., f(b, ..., b) (Ramshaw,
Blossoms are polar forms, Computer Aided Geometric Design 6, 1989). The recursion of Cox and de Boor
gives f when level d of it is taken at argument d. All points are floats, all weights intervals.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from types import MappingProxyType

import torch
from torch import Tensor

from certisolve_server.certifier.arithmetic import Interval
from certisolve_server.certifier.graph.edges import EDGES
from certisolve_server.certifier.graph.splines import BASIS
from certisolve_server.certifier.splines import SplineEdges

from .abstraction import Abstraction, scaled
from .rule import Rules


def bspline_basis(x: Abstraction, knots: Abstraction, degree: int) -> Abstraction:
    """All B-splines over strictly growing knots, and their slopes, entry by entry.

    Args:
        x: (*shape, 1).
        knots: exact, (*trailing part of shape, count).
        degree: p >= 1.

    Returns:
        (*shape, count - 1 - p).
    """
    t = knots.value.lower[0]
    reach = _Reach(x.value, t, degree)
    value = reach.hull(_basis_points(reach, degree)).intersection(
        Interval.between(torch.zeros_like(reach.members), 1.0)
    )
    shape = tuple(value.shape[1:])
    if not x.jacobian:
        return Abstraction(value)
    slope = reach.hull(_derivative_points(reach, degree))
    return Abstraction(value, scaled(slope, x.jacobian, shape))


def spline_edges(
    x: Abstraction, knots: Abstraction, coefficients: Abstraction, base: Abstraction, degree: int
) -> Abstraction:
    """All edge functions of a layer, each of one input: see `splines.edges`.

    Args:
        x: (rows, inputs).
        knots: exact, (inputs, count).
        coefficients: exact, (inputs * members, outputs).
        base: exact, (inputs, outputs).
        degree: from 1 to 3.

    Returns:
        (rows, inputs, outputs).
    """
    function = edge_functions(knots, coefficients, base, degree)
    shape = (*x.shape, base.shape[1])
    column = x.value.rearranged(lambda ends: ends.unsqueeze(-1))
    if not x.jacobian:
        return Abstraction(function.value(column))
    value, slope = function.jet(column, (0, 1))
    columns = {
        name: block.rearranged(lambda ends: ends.unsqueeze(-1))
        for name, block in x.jacobian.items()
    }
    return Abstraction(value, scaled(slope, MappingProxyType(columns), shape))


def edge_functions(
    knots: Abstraction, coefficients: Abstraction, base: Abstraction, degree: int
) -> SplineEdges:
    """The functions of a layer, from its constants."""
    parts = [each.value.lower[0].contiguous() for each in (knots, coefficients, base)]
    numbers = [part.numpy().tobytes() for part in parts]
    return _edge_functions(*numbers, *base.shape, degree)


@lru_cache(maxsize=16)
def _edge_functions(
    knots: bytes, coefficients: bytes, base: bytes, inputs: int, outputs: int, degree: int
) -> SplineEdges:
    """From float64 numbers: a walk over many boxes asks for the same layer again and again."""
    t, c, w = (
        torch.frombuffer(bytearray(numbers), dtype=torch.float64)
        for numbers in (knots, coefficients, base)
    )
    of_edges = c.reshape(inputs, -1, outputs)
    return SplineEdges(t.reshape(inputs, -1), of_edges, w.reshape(inputs, outputs), degree)


#: By name of the pattern.
RULES: Rules = {BASIS: bspline_basis, EDGES: spline_edges}


class _Reach:
    """The part of each knot cell that an interval covers.

    Attributes:
        start, end: (..., cells), inside of the cell; a cell that is not reached has a point.
        members: (..., count - 1 - p), zeros, for the shape of what is summed up over cells.
    """

    def __init__(self, x: Interval, knots: Tensor, degree: int) -> None:
        self._x, self._knots, self._degree = x, knots, degree
        left, right = knots[..., :-1], knots[..., 1:]
        start, end = torch.maximum(x.lower, left), torch.minimum(x.upper, right)
        self._touched = start <= end
        self.start = torch.where(self._touched, start, left)
        self.end = torch.where(self._touched, end, left)
        self.members = torch.zeros_like(self.start[..., degree:])
        self._padded = _padded(knots, degree)

    def knots(self, offset: int) -> Interval:
        """t_{j + offset} for each cell j; beyond the knots, numbers that lead to no member."""
        cells = self._knots.shape[-1] - 1
        first = self._degree + offset
        return Interval.exact(self._padded[..., first : first + cells])

    def hull(self, points: Sequence[Sequence[Interval]]) -> Interval:
        """Over all cells of the support of each member, and 0 where x may leave the support.

        Args:
            points: of the p + 1 members on a cell, the first one first: (..., cells) each.
        """
        p = self._degree
        count = self.members.shape[-1]
        lower = torch.full_like(self.members, math.inf)
        upper = torch.full_like(self.members, -math.inf)
        for i, of_member in enumerate(points):
            # On cell j, member i of those that are not zero is the one of number j - p + i.
            cells = slice(p - i, p - i + count)
            reached = self._touched[..., cells]
            for point in of_member:
                lower = torch.where(reached, torch.minimum(lower, point.lower[..., cells]), lower)
                upper = torch.where(reached, torch.maximum(upper, point.upper[..., cells]), upper)
        leaves = (self._x.lower <= self._knots[..., :count]) | (
            self._x.upper >= self._knots[..., p + 1 :]
        )
        zero = torch.zeros_like(lower)
        return Interval(
            torch.where(leaves, torch.minimum(lower, zero), lower),
            torch.where(leaves, torch.maximum(upper, zero), upper),
        )


def _basis_points(reach: _Reach, degree: int) -> list[list[Interval]]:
    """Of each member on a cell, its p + 1 Bezier points."""
    return _by_member(
        [_blossom(reach, _arguments(reach, degree, ends)) for ends in range(degree + 1)]
    )


def _derivative_points(reach: _Reach, degree: int) -> list[list[Interval]]:
    """Of each member on a cell, the p Bezier points of its derivative.

    B'_{m,p} = p (B_{m,p-1}/(t_{m+p} - t_m) - B_{m+1,p-1}/(t_{m+p+1} - t_{m+1})).
    """
    points = []
    for ends in range(degree):
        below = _blossom(reach, _arguments(reach, degree - 1, ends))
        points.append([_slope(reach, below, degree, i) for i in range(degree + 1)])
    return _by_member(points)


def _slope(reach: _Reach, below: list[Interval], p: int, i: int) -> Interval:
    first = i - p  # t_m is t_{j + first} for member m = j - p + i
    rising = below[i - 1] / (reach.knots(first + p) - reach.knots(first)) if i else None
    if i == p:
        return float(p) * _given(rising)
    falling = below[i] / (reach.knots(first + p + 1) - reach.knots(first + 1))
    return float(p) * (-falling if rising is None else rising - falling)


def _blossom(reach: _Reach, arguments: list[Tensor]) -> list[Interval]:
    """The d + 1 members of degree d on each cell, at one argument for each degree up to d."""
    members = [Interval.exact(torch.ones_like(reach.start))]
    for d, u in enumerate(arguments, start=1):
        members = [_blend(reach, members, d, i, Interval.exact(u)) for i in range(d + 1)]
    return members


def _blend(reach: _Reach, below: list[Interval], d: int, i: int, u: Interval) -> Interval:
    first = i - d
    rising = falling = None
    if i > 0:
        t = reach.knots(first)
        rising = (u - t) / (reach.knots(first + d) - t) * below[i - 1]
    if i < d:
        t = reach.knots(first + d + 1)
        falling = (t - u) / (t - reach.knots(first + 1)) * below[i]
    if rising is None or falling is None:
        return _given(falling if rising is None else rising)
    return rising + falling


def _given(term: Interval | None) -> Interval:
    if term is None:
        raise AssertionError("a B-spline has a rising or a falling part on each cell")
    return term


def _arguments(reach: _Reach, degree: int, ends: int) -> list[Tensor]:
    """a, ..., a, b, ..., b with `ends` times b."""
    return [reach.start] * (degree - ends) + [reach.end] * ends


def _by_member(points: list[list[Interval]]) -> list[list[Interval]]:
    return [list(of_member) for of_member in zip(*points, strict=True)]


def _padded(knots: Tensor, degree: int) -> Tensor:
    """With p more knots on either side, strictly growing, for members that do not exist."""
    step = knots.abs().amax(-1, keepdim=True) + 1.0
    counts = torch.arange(1, degree + 1, dtype=torch.float64)
    before = knots[..., :1] - step * counts.flip(0)
    return torch.cat([before, knots, knots[..., -1:] + step * counts], -1)

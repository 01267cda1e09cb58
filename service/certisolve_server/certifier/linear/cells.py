"""A function and its derivative on ranges, by finitely many points: what every relaxation rests on.

Each range is covered by cells, and of each z in a cell with the ends v and w,

    z = t v + (1 - t) w,   |f'(z) - (t f'_v + (1 - t) f'_w)| <= e,   |f(z) - (t f_v + ...)| <= e'

for one t in [0, 1]. So whatever is affine in z, f(z) and f'(z) is largest at a point, up to e.

Between two points a function whose derivative lies in [m, M] is off its chord by at most
(M - m) h / 4, h the width of the cell: with slopes M on one side of the place where it is furthest
off and m on the other, s h (1 - s) (M - m) <= h (M - m) / 4. Of f this is used with f', of f' with
f''. Where f' may jump on a cell, its whole range there is e instead. Piecewise affine functions
have a cell for each piece, and e = e' = 0.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from certisolve_server.certifier.arithmetic import Interval, NotABound, OutsideDomain
from certisolve_server.certifier.errors import NotCertified
from certisolve_server.certifier.functions import Function

from .pieces import Pieces, pieces_of

#: Of a range, where the function is not piecewise affine.
CELLS = 24

#: Enlarges errors by far more than the few roundings that they were computed with.
_SAFETY = 1.0 + 2.0**-40
_SMALLEST = 1e-300


@dataclass(frozen=True, eq=False)
class Cells:
    """Of f on ranges; see the module. All tensors but the last three: (batch, neurons, points).

    Args:
        place: the points, each in its range.
        slope: f' there, nearly.
        slope_error: how far slopes between this point and its neighbours may be off.
        value: f there, nearly.
        value_error: likewise.
        absent: 0, or -inf for points that are none.
        slopes: all f' on the range: (batch, neurons).
        values: all f on the range: (batch, neurons).
        places: the range: (batch, neurons).
    """

    place: Tensor
    slope: Tensor
    slope_error: Tensor
    value: Tensor
    value_error: Tensor
    absent: Tensor
    slopes: Interval
    values: Interval
    places: Interval


@dataclass(frozen=True, eq=False)
class Clip:
    """To which part of its axis each argument is restricted, (batch, neurons); inf for no end.

    Where an end is a kink, the slopes beyond it do not count: they belong to the part there.
    """

    lower: Tensor
    upper: Tensor


def cells(function: Function, places: Interval, clip: Clip) -> Cells:
    """Of a function, on a batch of ranges that lie within their clips.

    Raises:
        NotCertified: a range is unbounded or leaves the domain of the function.
    """
    if not bool(places.magnitude.isfinite().all()):
        raise NotCertified("an argument of a nonlinearity is unbounded")
    known = pieces_of(function)
    try:
        return _affine(function, known, places, clip) if known else _smooth(function, places)
    except (NotABound, OutsideDomain) as error:
        raise NotCertified(f"{type(function).__name__} has no bound: {error}") from error


def _affine(function: Function, pieces: Pieces, places: Interval, clip: Clip) -> Cells:
    """Two points for each piece that the range meets."""
    starts = torch.tensor([-math.inf, *pieces.breaks], dtype=torch.float64)
    ends = torch.tensor([*pieces.breaks, math.inf], dtype=torch.float64)
    lower = torch.maximum(places.lower[..., None], starts)
    upper = torch.minimum(places.upper[..., None], ends)
    outside = (ends <= clip.lower[..., None]) | (starts >= clip.upper[..., None])
    present = (lower <= upper) & ~outside
    # A range that meets none is empty; whatever is said of it is true.
    present |= ~present.any(-1, keepdim=True)
    place = torch.where(
        present[..., None], torch.stack([lower, upper], -1), places.lower[..., None, None]
    )
    slope = torch.tensor(pieces.slopes, dtype=torch.float64)[:, None].expand_as(place)
    inside = present[..., None].expand_as(place)
    everything = (slope.masked_fill(~inside, math.inf), slope.masked_fill(~inside, -math.inf))
    slopes = Interval(everything[0].amin((-1, -2)), everything[1].amax((-1, -2)))
    value, value_error = function.value(Interval.exact(place.flatten(2))).midpoint_radius()
    absent = torch.zeros_like(place).masked_fill(~inside, -math.inf).flatten(2)
    zeros = torch.zeros_like(value)
    return Cells(
        place.flatten(2),
        slope.flatten(2),
        zeros,
        value,
        value_error,
        absent,
        slopes,
        function.value(places),
        places,
    )


def _smooth(function: Function, places: Interval) -> Cells:
    """Cells of equal width."""
    lower, upper = places.lower[..., None], places.upper[..., None]
    parts = torch.arange(1, CELLS, dtype=torch.float64) / CELLS
    inner = (lower + parts * (upper - lower)).clamp(lower, upper)
    place = torch.cat([lower, inner, upper], -1)
    steps = Interval(place[..., :-1], place[..., 1:])
    width = steps.upper - steps.lower
    slope, slope_radius = function.derivative(Interval.exact(place)).midpoint_radius()
    slopes = function.derivative(steps)
    bends = function.second_derivative(steps)
    curved = 0.25 * (bends.upper - bends.lower) * width
    jump = slopes.upper - slopes.lower
    between = torch.where(curved < jump, curved, jump)
    slope_error = _SAFETY * (_at_points(between) + slope_radius) + _SMALLEST
    value, value_radius = function.value(Interval.exact(place)).midpoint_radius()
    value_error = _SAFETY * (_at_points(0.25 * jump * width) + value_radius) + _SMALLEST
    if not bool((slope_error.isfinite() & value_error.isfinite()).all()):
        raise NotCertified(f"{type(function).__name__} has unbounded slopes")
    all_slopes = Interval(slopes.lower.amin(-1), slopes.upper.amax(-1))
    absent = torch.zeros_like(place)
    values = function.value(places)
    return Cells(place, slope, slope_error, value, value_error, absent, all_slopes, values, places)


def _at_points(of_cells: Tensor) -> Tensor:
    """The larger of the errors in the two cells that meet at each point."""
    return torch.maximum(
        torch.cat([of_cells[..., :1], of_cells], -1), torch.cat([of_cells, of_cells[..., -1:]], -1)
    )

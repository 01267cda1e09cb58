"""Affine functions above and below f(z), and above and below f'(z) a, on the ranges of z and a.

Slopes may be any numbers; their offsets are what makes them bounds. With the points v of `cells`,

    f'(z) a - p z - q a <= max over points v and both ends a of (f'_v - q) a - p z_v + |a| e_v,

since the left side is affine in a, and on a cell in z as well but for e: the pair (z, a) is taken
jointly (Laurel et al., Pasado, OOPSLA 2023), and so are its extremes on a box. Without z, p = 0,
and for a gate of slopes 0 and 1, this is the relaxation of -relu(-a) <= f' a <= relu(a) by chords
(Shi et al., Efficiently Computing Local Lipschitz Constants, NeurIPS 2022, section 3.3).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from .cells import Cells

#: Relative to the sizes of the terms: far more than the few roundings of an offset.
_ROUNDING = 32.0 * 2.0**-53
_SMALLEST = 1e-300


@dataclass(frozen=True, eq=False)
class Lines:
    """slope z + offset above f(z), and below it; (batch, rows or 1, neurons) each."""

    upper_slope: Tensor
    upper_offset: Tensor
    lower_slope: Tensor
    lower_offset: Tensor


@dataclass(frozen=True, eq=False)
class Planes:
    """p z + q a + offset above f'(z) a, and below it; (batch, rows or 1, neurons) each."""

    upper_p: Tensor
    upper_q: Tensor
    upper_offset: Tensor
    lower_p: Tensor
    lower_q: Tensor
    lower_offset: Tensor


@dataclass(frozen=True, eq=False)
class Range:
    """Ends of numbers, (batch, neurons)."""

    lower: Tensor
    upper: Tensor

    @property
    def magnitude(self) -> Tensor:
        return torch.maximum(self.lower.abs(), self.upper.abs())


def lines(of: Cells, upper_slope: Tensor, lower_slope: Tensor) -> Lines:
    """The lines of these slopes, as low and as high as is proven."""
    upper = _line_offset(of, upper_slope, 1.0)
    return Lines(upper_slope, upper, lower_slope, -_line_offset(of, lower_slope, -1.0))


def planes(
    of: Cells, a: Range, upper: tuple[Tensor, Tensor], lower: tuple[Tensor, Tensor]
) -> Planes:
    """The planes of these slopes (p, q), as low and as high as is proven."""
    above = _plane_offset(of, a, *upper, 1.0)
    return Planes(*upper, above, *lower, -_plane_offset(of, a, *lower, -1.0))


def default_lines(of: Cells) -> tuple[Tensor, Tensor]:
    """The slopes above and below whose lines enclose the least area; (batch, 1, neurons) each."""
    first, last = of.places.lower, of.places.upper
    rise = of.value[..., -1] - of.value[..., 0]
    chord = torch.where(last > first, rise / torch.where(last > first, last - first, 1.0), 0.0)
    middle = of.slope[..., of.slope.shape[-1] // 2]
    ends = of.slopes.lower, of.slopes.upper, of.slope[..., 0], of.slope[..., -1]
    known = torch.stack([chord, middle, *ends], 1).clamp(
        of.slopes.lower[:, None], of.slopes.upper[:, None]
    )
    center = (0.5 * (first + last))[:, None]
    above = known * center + _line_offset(of, known, 1.0)
    below = known * center - _line_offset(of, known, -1.0)
    return _chosen(known, above.argmin(1)), _chosen(known, below.argmax(1))


def default_planes(of: Cells, a: Range) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """(p, q) above and below, the nearest at the middle of the box; (batch, 1, neurons) each."""
    least, most = of.slopes.lower, of.slopes.upper
    width = a.upper - a.lower
    safe = torch.where(width > 0, width, 1.0)
    highest = [torch.maximum(least * end, most * end) for end in (a.lower, a.upper)]
    lowest = [torch.minimum(least * end, most * end) for end in (a.lower, a.upper)]
    upper_chord = torch.where(width > 0, (highest[1] - highest[0]) / safe, 0.0)
    lower_chord = torch.where(width > 0, (lowest[1] - lowest[0]) / safe, 0.0)
    run = of.places.upper - of.places.lower
    change = of.slope[..., -1] - of.slope[..., 0]
    steepness = torch.where(run > 0, change / torch.where(run > 0, run, 1.0), 0.0)
    tilted = (0.5 * (a.lower + a.upper) * steepness, 0.5 * (of.slope[..., 0] + of.slope[..., -1]))
    nothing = torch.zeros_like(upper_chord)
    center = 0.5 * (of.places.lower + of.places.upper), 0.5 * (a.lower + a.upper)
    found = []
    for sign, chord in ((1.0, upper_chord), (-1.0, lower_chord)):
        p, q = torch.stack([nothing, tilted[0]], 1), torch.stack([chord, tilted[1]], 1)
        offset = _plane_offset(of, a, p, q, sign)
        height = sign * (p * center[0][:, None] + q * center[1][:, None]) + offset
        best = height.argmin(1)
        found.append((_chosen(p, best), _chosen(q, best)))
    return found[0], found[1]


def _chosen(candidates: Tensor, best: Tensor) -> Tensor:
    return candidates.gather(1, best[:, None])


def _line_offset(of: Cells, slope: Tensor, sign: float) -> Tensor:
    """At least sign (f(z) - slope z) for each z; (batch, rows, neurons) as the slope."""
    place, value = of.place[:, None], of.value[:, None]
    away = sign * (value - slope[..., None] * place) + (of.value_error + of.absent)[:, None]
    sizes = of.values.magnitude[:, None] + slope.abs() * of.places.magnitude[:, None]
    return away.amax(-1) + _ROUNDING * sizes + _SMALLEST


def _plane_offset(of: Cells, a: Range, p: Tensor, q: Tensor, sign: float) -> Tensor:
    """At least sign (f'(z) a - p z - q a) for each z and a; (batch, rows, neurons) as p and q."""
    above = sign * (of.slope[:, None] - q[..., None])
    ends = a.lower[:, None, :, None], a.upper[:, None, :, None]
    by_a = torch.maximum(above * ends[0], above * ends[1])
    size = a.magnitude
    error = of.slope_error * size[..., None] + of.absent
    away = by_a - sign * p[..., None] * of.place[:, None] + error[:, None]
    slopes = of.slopes.magnitude[:, None] + q.abs()
    sizes = slopes * size[:, None] + p.abs() * of.places.magnitude[:, None]
    return away.amax(-1) + _ROUNDING * sizes + _SMALLEST

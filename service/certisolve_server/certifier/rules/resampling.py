"""Grids made finer or coarser along the last axes: interpolation and means over windows.

All but the nearest neighbour are one matrix for each axis, of rational numbers that are enclosed.
torch computes these numbers in floats; that they are rounded there is no part of the map.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from types import MappingProxyType
from typing import TypeAlias

import torch
from torch import Tensor

from certisolve_server.certifier.arithmetic import Interval, matmul

from .abstraction import Abstraction, mapped_linearly
from .rule import Declined, Rule, Rules
from .shapes import move

#: What an entry of the result takes of each entry of an axis.
Row: TypeAlias = Mapping[int, Fraction]

#: From a place between entries, counted from the first one, to what is taken of those around.
_Kernel: TypeAlias = Callable[[Fraction], Row]

#: Whole numbers up to this are exact in float32.
_EXACT = 1 << 24

#: Of cubic convolution, as in ATen (Keys, Cubic convolution interpolation, 1981, takes -1/2).
_CUBIC = Fraction(-3, 4)


def along_axes(x: Abstraction, rows: Sequence[Sequence[Row]]) -> Abstraction:
    """The image of a matrix for each of the last axes, given by its rows."""
    for axis, of_axis in enumerate(rows, start=-len(rows)):
        matrix = _matrix(of_axis, x.shape[axis])

        def apply(part: Interval, matrix: Interval = matrix, axis: int = axis) -> Interval:
            last = part.rearranged(lambda ends: ends.movedim(axis, -1))
            return matmul(last, matrix).rearranged(lambda ends: ends.movedim(-1, axis))

        x = mapped_linearly(x, apply)
    return x


def average_to(self: Abstraction, output_size: Sequence[int]) -> Abstraction:
    """The means of windows that cover the last axes (aten.adaptive_avg_pool)."""
    sizes = self.shape[-len(output_size) :]
    windows = [adaptive_windows(*each) for each in zip(sizes, output_size, strict=True)]
    return along_axes(self, [[_mean(window) for window in of_axis] for of_axis in windows])


def adaptive_windows(size: int, count: int) -> list[range]:
    """Which entries of an axis each of `count` results is made of, as ATen divides them."""
    return [range(i * size // count, -(-(i + 1) * size // count)) for i in range(count)]


def average_windows(
    size: int, kernel: int, step: int, padding: int, ceil_mode: bool, counts_padding: bool
) -> list[Row]:
    """Means over windows of which some leave the axis (aten.avg_pool).

    Args:
        size: of the axis.
        kernel: entries of a window.
        step: between starts of windows.
        padding: zeros on both sides.
        ceil_mode: whether a last window may go on beyond the zeros.
        counts_padding: whether zeros are counted, of which beyond the padding there are none.
    """
    rows: list[Row] = []
    for i in range(window_count(size, kernel, step, padding, 1, ceil_mode)):
        start = i * step - padding
        end = min(start + kernel, size + padding)
        inside = range(max(start, 0), min(end, size))
        share = Fraction(1, end - start if counts_padding else len(inside))
        rows.append(dict.fromkeys(inside, share))
    return rows


def window_count(
    size: int, kernel: int, step: int, padding: int, dilation: int, ceil_mode: bool
) -> int:
    """How many windows an axis has; none starts beyond it and the padding before it."""
    room = size + 2 * padding - dilation * (kernel - 1) - 1
    count = (-(-room // step) if ceil_mode else room // step) + 1
    return count - 1 if ceil_mode and (count - 1) * step >= size + padding else count


def _mean(window: range) -> Row:
    return {place: Fraction(1, len(window)) for place in window}


def _nearest(name: str) -> Rule:
    """The rule of what repeats or leaves out entries, where no rounding decides which."""
    overload = getattr(torch.ops.aten, name).vec

    def rule(
        input: Abstraction,
        output_size: Sequence[int] | None,
        scale_factors: Sequence[float] | None,
    ) -> Abstraction:
        space = input.shape[2:]
        places = torch.arange(math.prod(space)).reshape(1, 1, *space)
        chosen: Tensor = overload(places.double(), output_size, scale_factors)
        # A place is rounded down after the scale was rounded, to floats of the width of the input.
        narrow = overload(places.float(), output_size, scale_factors)
        if places.numel() > _EXACT or not torch.equal(chosen, narrow.double()):
            raise Declined("chooses other entries in other floats")
        index = chosen[0, 0].long()
        return move(input, lambda x: x.flatten(2)[:, :, index])

    return rule


def _interpolating(axes: int, is_cubic: bool) -> Rule:
    def rule(
        input: Abstraction,
        output_size: Sequence[int] | None,
        align_corners: bool,
        scale_factors: Sequence[float] | None,
    ) -> Abstraction:
        """Polynomials between neighbours, the outermost entries going on for ever."""
        sizes = input.shape[-axes:]
        rows = []
        for axis, size in enumerate(sizes):
            scale = None if scale_factors is None else Fraction(scale_factors[axis])
            count = output_size[axis] if output_size else math.floor(size * _given(scale))
            kernel = _cubic(size) if is_cubic else _linear(size)
            rows.append([kernel(place) for place in _places(size, count, scale, align_corners)])
        return along_axes(input, rows)

    return rule


def _given(scale: Fraction | None) -> float:
    if scale is None:
        raise Declined("has neither a size nor a scale")
    # As ATen, which multiplies in float64.
    return float(scale)


def _places(size: int, count: int, scale: Fraction | None, align_corners: bool) -> list[Fraction]:
    """Where results lie, in units of the entries of an axis, the first of them at 0."""
    if align_corners:
        step = Fraction(size - 1, count - 1) if count > 1 else Fraction(0)
        return [step * i for i in range(count)]
    if scale is not None and scale != 1 and count == size:
        raise Declined("scales an axis by so little that its size stays")
    step = Fraction(size, count) if scale is None else 1 / scale
    return [step * (i + Fraction(1, 2)) - Fraction(1, 2) for i in range(count)]


def _linear(size: int) -> _Kernel:
    def row(place: Fraction) -> Row:
        inside = min(max(place, Fraction(0)), Fraction(size - 1))
        first = math.floor(inside)
        share = inside - first
        return {first: 1 - share, **({first + 1: share} if share else {})}

    return row


def _cubic(size: int) -> _Kernel:
    a = _CUBIC

    def near(t: Fraction) -> Fraction:
        return ((a + 2) * t - (a + 3)) * t * t + 1

    def far(t: Fraction) -> Fraction:
        return ((a * t - 5 * a) * t + 8 * a) * t - 4 * a

    def row(place: Fraction) -> Row:
        first = math.floor(place)
        t = place - first
        weights = (far(t + 1), near(t), near(1 - t), far(2 - t))
        taken: dict[int, Fraction] = {}
        for neighbour, weight in enumerate(weights, start=first - 1):
            at = min(max(neighbour, 0), size - 1)
            taken[at] = taken.get(at, Fraction(0)) + weight
        return taken

    return row


def _matrix(rows: Sequence[Row], size: int) -> Interval:
    """(size, rows): exact where all numbers are floats."""
    nearest = torch.zeros(size, len(rows), dtype=torch.float64)
    lower, upper = nearest.clone(), nearest.clone()
    is_exact = True
    for column, row in enumerate(rows):
        for place, weight in row.items():
            enclosed = Interval.of_fraction(weight)
            is_exact &= enclosed.is_exact
            nearest[place, column] = float(weight)
            lower[place, column], upper[place, column] = enclosed.lower, enclosed.upper
    return Interval.exact(nearest) if is_exact else Interval(lower, upper)


#: By overload.
RULES: Rules = MappingProxyType(
    {
        "aten.adaptive_avg_pool1d.default": average_to,
        "aten.adaptive_avg_pool2d.default": average_to,
        **{f"aten.upsample_nearest{n}d.vec": _nearest(f"upsample_nearest{n}d") for n in (1, 2, 3)},
        "aten.upsample_linear1d.vec": _interpolating(1, is_cubic=False),
        "aten.upsample_bilinear2d.vec": _interpolating(2, is_cubic=False),
        "aten.upsample_trilinear3d.vec": _interpolating(3, is_cubic=False),
        "aten.upsample_bicubic2d.vec": _interpolating(2, is_cubic=True),
    }
)

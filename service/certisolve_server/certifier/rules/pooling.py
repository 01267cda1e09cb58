"""The largest entries of windows along the last axes (aten.max_pool, aten.adaptive_max_pool).

What is around a tensor is below anything in it, so that of a window that leaves it only the entries
inside count; where windows are of unequal sizes one of these is taken several times, which changes
no largest entry.
"""

from collections.abc import Callable, Sequence
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from .abstraction import Abstraction
from .order import ranked
from .resampling import adaptive_windows, window_count
from .rule import Declined, Rule, Rules
from .shapes import move

#: Along how many axes each overload goes.
AXES = MappingProxyType(
    {"aten.max_pool1d.default": 1, "aten.max_pool2d.default": 2, "aten.max_pool3d.default": 3}
)


def windows(
    self: Abstraction,
    axes: int,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    ceil_mode: bool,
) -> Abstraction:
    """The entries of each window along a last axis, some perhaps more than once.

    Raises:
        Declined: a window has no entries.
    """
    settings = (kernel_size, stride or kernel_size, padding, dilation)
    per_axis = zip(*(_per_axis(each, axes) for each in settings), strict=True)
    places = [
        _places(size, kernel, step, around, gap, ceil_mode)
        for size, (kernel, step, around, gap) in zip(self.shape[-axes:], per_axis, strict=True)
    ]
    return move(self, _taking(places))


def _pooling(axes: int) -> Rule:
    def largest_in_windows(self: Abstraction, **settings: Any) -> Abstraction:
        return ranked(windows(self, axes, **settings), 0)

    return largest_in_windows


def largest_of_parts(self: Abstraction, output_size: Sequence[int]) -> tuple[Abstraction]:
    """Of windows that cover the last axes, without the places, which jump."""
    sizes = self.shape[-len(output_size) :]
    places = [_padded(adaptive_windows(*each)) for each in zip(sizes, output_size, strict=True)]
    return (ranked(move(self, _taking(places)), 0),)


#: By overload.
RULES: Rules = MappingProxyType(
    {
        "aten.adaptive_max_pool1d.default": largest_of_parts,
        "aten.adaptive_max_pool2d.default": largest_of_parts,
        **{operator: _pooling(axes) for operator, axes in AXES.items()},
    }
)


def _places(
    size: int, kernel: int, step: int, padding: int, dilation: int, ceil_mode: bool
) -> Tensor:
    """Which entries of an axis are in each window: (windows, kernel)."""
    count = window_count(size, kernel, step, padding, dilation, ceil_mode)
    starts = range(-padding, count * step - padding, step)
    return _padded(
        [
            [
                place
                for place in range(start, start + dilation * kernel, dilation)
                if 0 <= place < size
            ]
            for start in starts
        ]
    )


def _padded(windows: Sequence[Sequence[int]]) -> Tensor:
    """Windows of one size, in which the first entry stands for those that are missing."""
    if not all(windows):
        raise Declined("takes the largest of nothing")
    most = max(len(window) for window in windows)
    return torch.tensor([[*window, *[window[0]] * (most - len(window))] for window in windows])


def _taking(places: Sequence[Tensor]) -> Callable[[Tensor], Tensor]:
    """From a tensor to its windows along the last axes, each with its entries along one axis."""

    def take(x: Tensor) -> Tensor:
        axes = len(places)
        first = x.ndim - axes
        for axis, of_axis in enumerate(places):
            shape = (*x.shape[: first + 2 * axis], *of_axis.shape, *x.shape[first + 2 * axis + 1 :])
            x = x.index_select(first + 2 * axis, of_axis.flatten()).reshape(shape)
        apart = [first + 2 * axis for axis in range(axes)]
        within = [axis + 1 for axis in apart]
        return x.permute(*range(first), *apart, *within).flatten(first + axes)

    return take


def _per_axis(numbers: Sequence[int], axes: int) -> list[int]:
    """ATen reads one number as that of each axis."""
    return list(numbers) * axes if len(numbers) == 1 else list(numbers)

"""The largest, the smallest and the sorted entries of groups: rounding moves none of them.

The k-th largest of a group changes by at most the largest change of an entry, and sorted groups
by at most the length of the change (sorting is the nearest of all permutations).
"""

import math
from collections.abc import Callable, Mapping, Sequence

from torch import Tensor
from torch.nn import functional

from certisolve_server.certifier.arithmetic.rounding import product_up, sqrt_up
from certisolve_server.certifier.rules import Declined

from .arithmetic import compare
from .convolutions import per_axis
from .deviation import Deviation, Known, number
from .precision import Precision
from .rule import Rule, Rules


def extreme(_precision: Precision, self: Known, dim: Sequence[int], keepdim: bool) -> Deviation:
    """The largest or the smallest along axes (aten.amax, aten.amin)."""
    if not dim:
        raise Declined("names no axes")
    entries = self.deviation.entries.amax(tuple(dim), keepdim)
    return Deviation.within(entries, self.deviation.length)


def extreme_and_place(
    precision: Precision, self: Known, dim: int, keepdim: bool
) -> tuple[Deviation]:
    """Without the place (aten.max.dim, aten.min.dim)."""
    return (extreme(precision, self, [dim], keepdim),)


def sort(_precision: Precision, self: Known, dim: int, descending: bool) -> tuple[Deviation]:
    """Without the places (aten.sort)."""
    del descending
    off = self.deviation.entries
    if off.ndim == 0:
        raise Declined("sorts one number")
    entries = off.amax(dim, keepdim=True).expand(off.shape)
    return (Deviation.within(entries, self.deviation.length),)


def _pooling(axes: int, pool: Callable[..., Tensor]) -> Rule:
    """The largest of each window along the last axes; an entry may be in several."""

    def largest_in_windows(
        _precision: Precision,
        self: Known,
        kernel_size: Sequence[int],
        stride: Sequence[int],
        padding: Sequence[int],
        dilation: Sequence[int],
        ceil_mode: bool,
    ) -> Deviation:
        settings = (tuple(each) for each in (stride or kernel_size, padding, dilation))
        entries = pool(self.deviation.entries, tuple(kernel_size), *settings, ceil_mode)
        sizes, steps = per_axis(kernel_size, axes), per_axis(stride or kernel_size, axes)
        dense = all(each == 1 for each in dilation)
        windows = math.prod(
            -(-size // step) if dense else size for size, step in zip(sizes, steps, strict=True)
        )
        length = product_up(self.deviation.length, sqrt_up(number(float(windows))))
        return Deviation.within(entries, length)

    return largest_in_windows


def largest_of_parts(
    _precision: Precision, self: Known, output_size: Sequence[int]
) -> tuple[Deviation]:
    """Of windows that cover the last axes, without the places (aten.adaptive_max_pool)."""
    (entries,) = _largest_of_parts(self.deviation.entries, output_size)
    return (Deviation.within(entries),)


def _largest_of_parts(ends: Tensor, output_size: Sequence[int]) -> tuple[Tensor]:
    one_axis = len(output_size) == 1
    pool = functional.adaptive_max_pool1d if one_axis else functional.adaptive_max_pool2d
    return (pool(ends, tuple(output_size)),)


#: From an end of a hull to that of the result: what is ranked grows with each entry.
PARTING: Mapping[str, Callable[..., Sequence[Tensor]]] = {
    "aten.adaptive_max_pool1d.default": _largest_of_parts,
    "aten.adaptive_max_pool2d.default": _largest_of_parts,
    "aten.max.dim": lambda ends, dim, keepdim: (ends.amax(dim, keepdim),),
    "aten.min.dim": lambda ends, dim, keepdim: (ends.amin(dim, keepdim),),
    "aten.sort.default": lambda ends, dim, descending: (ends.sort(dim, descending).values,),
}

#: By overload.
RULES: Rules = {
    "aten.adaptive_max_pool1d.default": largest_of_parts,
    "aten.adaptive_max_pool2d.default": largest_of_parts,
    "aten.amax.default": extreme,
    "aten.amin.default": extreme,
    "aten.max.dim": extreme_and_place,
    "aten.max.other": compare,
    "aten.max_pool1d.default": _pooling(1, functional.max_pool1d),
    "aten.max_pool2d.default": _pooling(2, functional.max_pool2d),
    "aten.max_pool3d.default": _pooling(3, functional.max_pool3d),
    "aten.min.dim": extreme_and_place,
    "aten.min.other": compare,
    "aten.sort.default": sort,
}

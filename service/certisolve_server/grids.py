"""Grids: where the values of a field lie, and how to move a field to another grid."""

import functools
from collections.abc import Mapping, Sequence

import numpy as np

from certisolve.manifest import Axis

from .jobs import Array


def coordinates(axis: Axis, size: int) -> Array:
    """The `size` coordinates of a grid axis, float64, read-only."""
    return _coordinates(axis.convention, axis.lower or 0.0, axis.upper or 0.0, size)


def resample(field: Array, axes: Sequence[str], sizes: Mapping[str, int]) -> Array:
    """A periodic field on another grid, by its trigonometric interpolant.

    Exact for fields without content above the Nyquist frequency of the coarser grid.

    Args:
        field: values on a `periodic` grid along every grid axis.
        axes: names of its axes.
        sizes: number of values wanted along each grid axis.
    """
    result = field
    for dimension, name in enumerate(axes):
        if name in sizes:
            result = _resample_axis(result, dimension, sizes[name])
    return result.astype(field.dtype, copy=False)


def resample_transposed(field: Array, axes: Sequence[str], sizes: Mapping[str, int]) -> Array:
    """The transpose of `resample`: what a gradient on the grid resampled to is on the other.

    <resample(u), v> = <u, resample_transposed(v)> for all u and v.

    Args:
        field: gradient by values on the grid that was resampled to.
        axes: names of its axes.
        sizes: number of values along each grid axis before it was.
    """
    result = field
    for dimension, name in enumerate(axes):
        if name in sizes:
            result = _transposed_axis(result, dimension, sizes[name])
    return result.astype(field.dtype, copy=False)


def _transposed_axis(field: Array, dimension: int, size: int) -> Array:
    old = field.shape[dimension]
    if old == size:
        return field
    modes = np.moveaxis(np.fft.rfft(field.astype(np.float64), axis=dimension), dimension, -1)
    kept = np.zeros((*modes.shape[:-1], size // 2 + 1), modes.dtype)
    common = min(old, size)
    kept[..., : common // 2 + 1] = modes[..., : common // 2 + 1]
    if common % 2 == 0:
        # Halved where it went up from, the Nyquist mode comes from both of the two it went to.
        kept[..., common // 2] = kept[..., common // 2].real
    return np.moveaxis(np.fft.irfft(kept, n=size, axis=-1), -1, dimension)


def _resample_axis(field: Array, dimension: int, size: int) -> Array:
    old = field.shape[dimension]
    if old == size:
        return field
    modes = np.moveaxis(np.fft.rfft(field.astype(np.float64), axis=dimension), dimension, -1)
    kept = np.zeros((*modes.shape[:-1], size // 2 + 1), modes.dtype)
    common = min(old, size)
    kept[..., : common // 2 + 1] = modes[..., : common // 2 + 1]
    if common % 2 == 0:
        # The Nyquist mode of an even grid stands for two: half of it goes up, both come down.
        kept[..., common // 2] *= 0.5 if size > old else 2.0
    if common % 2 == 0 and size < old:
        kept[..., common // 2] = kept[..., common // 2].real
    resampled = np.fft.irfft(kept, n=size, axis=-1) * (size / old)
    return np.moveaxis(resampled, -1, dimension)


# Cached by plain values: an axis has many, and hashing them would take longer than the rest.
@functools.lru_cache(maxsize=256)
def _coordinates(convention: str | None, lower: float, upper: float, size: int) -> Array:
    if convention == "nodes":
        points = np.linspace(lower, upper, size)
    else:
        offset = 0.5 if convention == "cells" else 0.0
        points = lower + (upper - lower) * (np.arange(size) + offset) / size
    points.flags.writeable = False
    return points

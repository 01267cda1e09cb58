"""Tensors that are made of nothing but a shape and a number."""

from collections.abc import Sequence

import torch

from certisolve_server.certifier.rules import Declined

from .deviation import Deviation, Known
from .precision import Precision
from .rule import Rules


def like(_precision: Precision, self: Known, **_placing: object) -> Deviation:
    """Zeros or ones of the shape of another tensor: exact."""
    return Deviation.none(self.shape)


def exact(_precision: Precision, size: Sequence[int], **_placing: object) -> Deviation:
    """Zeros or ones."""
    return Deviation.none(tuple(size))


def full(
    precision: Precision, size: Sequence[int], fill_value: float, **_placing: object
) -> Deviation:
    """One number, rounded where the floats do not hold it."""
    off = precision.of_number(float(fill_value))
    return Deviation.within(torch.full(tuple(size), off, dtype=torch.float64))


def count(precision: Precision, end: float, **_placing: object) -> Deviation:
    """0, 1, ... below a number."""
    return count_from(precision, 0, end)


def count_from(precision: Precision, start: float, end: float, **_placing: object) -> Deviation:
    """Whole numbers, which are exact as long as the floats hold all of them."""
    if start != int(start) or not max(abs(start), abs(end)) * precision.unit_roundoff < 0.5:
        raise Declined(f"counts from {start} to {end}, which is not exact")
    return Deviation.none((len(torch.arange(int(start), end)),))


#: By overload.
RULES: Rules = {
    "aten.arange.default": count,
    "aten.arange.start": count_from,
    "aten.full.default": full,
    "aten.ones.default": exact,
    "aten.ones_like.default": like,
    "aten.zeros.default": exact,
    "aten.zeros_like.default": like,
}

"""Tensors that are made of nothing but a shape and a number."""

from collections.abc import Sequence

import torch

from certisolve_server.certifier.arithmetic import Interval

from .abstraction import Abstraction, constant
from .rule import Declined, Rules


def zeros_like(self: Abstraction, **_placing: object) -> Abstraction:
    """Zeros of the shape of another tensor, whose values have no influence."""
    return _filled(self.shape, 0.0)


def ones_like(self: Abstraction, **_placing: object) -> Abstraction:
    """Ones of the shape of another tensor."""
    return _filled(self.shape, 1.0)


def full(size: Sequence[int], fill_value: float, **_placing: object) -> Abstraction:
    """One number everywhere."""
    return _filled(tuple(size), fill_value)


def zeros(size: Sequence[int], **_placing: object) -> Abstraction:
    """Zeros."""
    return _filled(tuple(size), 0.0)


def ones(size: Sequence[int], **_placing: object) -> Abstraction:
    """Ones."""
    return _filled(tuple(size), 1.0)


def count(end: float, **_placing: object) -> Abstraction:
    """0, 1, ... below a number (aten.arange), as reals."""
    return count_from(0, end)


def count_from(start: float, end: float, **_placing: object) -> Abstraction:
    """Whole numbers from one to below another (aten.arange)."""
    if start != int(start):
        raise Declined(f"counts from {start}, which float64 may not reach exactly")
    numbers = torch.arange(int(start), end, dtype=torch.float64)
    return constant(Interval.exact(numbers))


def evenly_spaced(start: float, end: float, steps: int, **_placing: object) -> Abstraction:
    """Numbers from one to another, both included (aten.linspace), as reals."""
    if steps < 2:
        raise Declined(f"divides a line by {steps} points")
    part = Interval.exact(torch.arange(steps, dtype=torch.float64)) / float(steps - 1)
    length = Interval.exact(float(end)) - float(start)
    return constant(part * length + float(start))


#: By overload.
RULES: Rules = {
    "aten.arange.default": count,
    "aten.arange.start": count_from,
    "aten.full.default": full,
    "aten.linspace.default": evenly_spaced,
    "aten.ones.default": ones,
    "aten.ones_like.default": ones_like,
    "aten.zeros.default": zeros,
    "aten.zeros_like.default": zeros_like,
}


def _filled(shape: tuple[int, ...], number: float) -> Abstraction:
    return constant(Interval.exact(torch.full(shape, number, dtype=torch.float64)))

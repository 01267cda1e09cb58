"""Intervals put together of others."""

from collections.abc import Sequence

import torch
from torch import Tensor

from .interval import Interval


def where(condition: Tensor, x: Interval, y: Interval) -> Interval:
    """Of two intervals, x where the condition holds and y elsewhere, broadcast."""
    return Interval(
        torch.where(condition, x.lower, y.lower), torch.where(condition, x.upper, y.upper)
    )


def concatenate(parts: Sequence[Interval], dim: int) -> Interval:
    """Intervals one after another along an axis that exists."""
    return Interval(
        torch.cat([part.lower for part in parts], dim),
        torch.cat([part.upper for part in parts], dim),
    )


def stack(parts: Sequence[Interval], dim: int) -> Interval:
    """Intervals of one shape along an axis that is new."""
    return Interval(
        torch.stack([part.lower for part in parts], dim),
        torch.stack([part.upper for part in parts], dim),
    )

"""Matrices put together of blocks."""

from collections.abc import Sequence

import torch

from certisolve_server.certifier.arithmetic import Interval, concatenate


def joined(parts: Sequence[Interval], dim: int) -> Interval:
    """One after another along an axis; exact where all are."""
    if len(parts) == 1:
        return parts[0]
    if all(part.is_exact for part in parts):
        return Interval.exact(torch.cat([part.lower for part in parts], dim))
    return concatenate(parts, dim)


def zeros(rows: int, columns: int) -> Interval:
    """A block without influence."""
    return Interval.exact(torch.zeros(rows, columns, dtype=torch.float64))


def identity(size: int) -> Interval:
    """A block that changes nothing."""
    return Interval.exact(torch.eye(size, dtype=torch.float64))

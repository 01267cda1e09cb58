"""Ranges of a + b d + c d^2 over |d| <= r, in closed form."""

import torch
from torch import Tensor

#: At least 32 roundings of float64, relative.
ROUNDINGS = 2.0**-48

#: What underflow may cost at most, and as much again for each unit of r.
SMALLEST = 2.0**-1000


def quadratic_range(
    a: Tensor, b: Tensor, c: Tensor, r: Tensor, slack: Tensor
) -> tuple[Tensor, Tensor]:
    """Bounds of a + b d + c d^2 over |d| <= r, each `slack` further out.

    The extremes are at the ends, a + c r^2 + |b| r and a + c r^2 - |b| r, and, where
    |b| <= 2 |c| r, at the vertex: a - b^2 / (4 c). The few roundings of each are below `ROUNDINGS`
    times |a| + |b| r + |c| r^2, as b^2 / |4 c| <= |b| r / 2 there; a vertex that is taken although
    it lies just outside only adds to the range.

    Args:
        a: finite.
        b: finite.
        c: finite.
        r: not negative; where it is infinite there are no bounds.
        slack: not negative: how uncertain the coefficients make the sum.
    """
    bent, tilted = c * r * r, b.abs() * r
    middle = a + bent
    lower, upper = middle - tilted, middle + tilted
    turns = b.abs() <= 2.0 * (1.0 + ROUNDINGS) * c.abs() * r
    vertex = a - b / torch.where(c == 0, 1.0, 4.0 * c) * b
    lower = torch.where(turns & (c > 0), torch.minimum(lower, vertex), lower)
    upper = torch.where(turns & (c < 0), torch.maximum(upper, vertex), upper)
    around = (slack + ROUNDINGS * (a.abs() + bent.abs() + tilted)) * (1.0 + ROUNDINGS)
    around = around + SMALLEST * (1.0 + r)
    known = around.isfinite() & middle.isfinite()
    return (
        torch.where(known, lower - around, -torch.inf),
        torch.where(known, upper + around, torch.inf),
    )

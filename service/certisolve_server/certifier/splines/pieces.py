"""Splines as one polynomial on each knot cell."""

import math

import torch
from torch import Tensor

from certisolve_server.certifier.arithmetic import Interval

#: The largest degree of which ranges are known in closed form.
MAX_DEGREE = 3


def cell_polynomials(knots: Tensor, coefficients: Tensor, degree: int) -> list[Interval]:
    """Of sums of B-splines, the coefficients a_k of sum_k a_k (x - t_j)^k on [t_j, t_{j+1}].

    By the recursion of Cox and de Boor (de Boor, A Practical Guide to Splines, 1978, chapter X),
    taken on polynomials in x - t_j, all weights intervals.

    Args:
        knots: (inputs, count), strictly growing.
        coefficients: (inputs, count - 1 - degree, outputs), of each B-spline.
        degree: p >= 1.

    Returns:
        p + 1 intervals of (inputs, outputs, count - 1).
    """
    cells, count = knots.shape[1] - 1, coefficients.shape[1]
    members = _members(_Knots(knots, degree), degree)
    # On cell j, member i of those that are not zero is the one of number j - p + i.
    numbers = torch.arange(cells).unsqueeze(0) - degree + torch.arange(degree + 1).unsqueeze(1)
    exists = (numbers >= 0) & (numbers < count)
    weights = coefficients[:, numbers.clamp(0, count - 1)] * exists[None, :, :, None]
    sums = []
    for power in range(degree + 1):
        terms = [
            member[power].rearranged(lambda ends: ends.unsqueeze(1)) * weights[:, i].mT
            for i, member in enumerate(members)
        ]
        sums.append(sum(terms[1:], terms[0]))
    return sums


class _Knots:
    """t_{j + offset} for each cell j; beyond the knots, numbers that lead to no member."""

    def __init__(self, knots: Tensor, degree: int) -> None:
        step = knots.abs().amax(-1, keepdim=True) + 1.0
        counts = torch.arange(1, degree + 1, dtype=torch.float64)
        before = knots[..., :1] - step * counts.flip(0)
        self._padded = torch.cat([before, knots, knots[..., -1:] + step * counts], -1)
        self._degree, self.cells = degree, knots.shape[-1] - 1

    def __call__(self, offset: int) -> Interval:
        first = self._degree + offset
        return Interval.exact(self._padded[..., first : first + self.cells])


def _members(t: _Knots, degree: int) -> list[list[Interval]]:
    """The p + 1 members on each cell, by their coefficients: (inputs, cells) each."""
    members = [[Interval.exact(torch.ones_like(t(0).lower))]]
    for d in range(1, degree + 1):
        members = [_blend(t, members, d, i) for i in range(d + 1)]
    return members


def _blend(t: _Knots, below: list[list[Interval]], d: int, i: int) -> list[Interval]:
    """Member i of degree d: a rising ramp times member i - 1, a falling one times member i."""
    first, parts = i - d, []
    if i > 0:
        width = t(first + d) - t(first)
        parts.append(_times_line(below[i - 1], (t(0) - t(first)) / width, 1.0 / width))
    if i < d:
        width = t(first + d + 1) - t(first + 1)
        parts.append(_times_line(below[i], (t(first + d + 1) - t(0)) / width, -1.0 / width))
    return [sum(terms[1:], terms[0]) for terms in zip(*parts, strict=True)]


def _times_line(polynomial: list[Interval], at_knot: Interval, slope: Interval) -> list[Interval]:
    """A polynomial in x - t_j times a line."""
    zero = polynomial[0] * 0.0
    constant = [*(each * at_knot for each in polynomial), zero]
    linear = [zero, *(each * slope for each in polynomial)]
    return [a + b for a, b in zip(constant, linear, strict=True)]


def derivative_factor(power: int, order: int) -> int:
    """How often (x - t)^power counts in its derivative of an order."""
    return math.perm(power, order) if order <= power else 0

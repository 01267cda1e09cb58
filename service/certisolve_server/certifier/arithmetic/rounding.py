"""Directed rounding of elementwise results, by one step to the next float64.

IEEE 754 gives +, -, *, / correctly rounded to nearest: of an exact result z the computed fl(z) is
a float nearest to z, so z lies between the neighbours of fl(z) (overflow included: fl(z) = inf
says that z is above the largest float, which is the lower neighbour of inf). Hence
down(fl(z)) <= z <= up(fl(z)). A sum or difference that is computed as 0 is exact, since float64
has subnormal numbers (Higham, Accuracy and Stability, 2nd ed., section 2.1), and stays 0.
"""

import math

import torch
from jaxtyping import Float64
from torch import Tensor

Numbers = Float64[Tensor, "..."]

_INFINITY = torch.tensor(math.inf, dtype=torch.float64)


def up(x: Numbers) -> Numbers:
    """The next float above each element; inf above inf."""
    return torch.nextafter(x, _INFINITY)


def down(x: Numbers) -> Numbers:
    """The next float below each element; -inf below -inf."""
    return torch.nextafter(x, -_INFINITY)


def sum_up(x: Numbers, y: Numbers) -> Numbers:
    """At least x + y, elementwise; exactly 0 where the sum is 0."""
    total = x + y
    return torch.where(total == 0, total, up(total))


def sum_down(x: Numbers, y: Numbers) -> Numbers:
    """At most x + y, elementwise; exactly 0 where the sum is 0."""
    total = x + y
    return torch.where(total == 0, total, down(total))


def product_up(x: Numbers, y: Numbers) -> Numbers:
    """At least x y for x, y >= 0, elementwise; exactly 0 where a factor is 0, and 0 inf = 0."""
    nothing = (x == 0) | (y == 0)
    return torch.where(nothing, 0.0, up(x * y))


def product_down(x: Numbers, y: Numbers) -> Numbers:
    """At most x y and at least 0 for x, y >= 0, elementwise; 0 inf = 0."""
    nothing = (x == 0) | (y == 0)
    return torch.where(nothing, 0.0, down(x * y).clamp(min=0.0))

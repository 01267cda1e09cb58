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

#: Of the last place of a result: what a function of the math library is allowed to be off.
LIBRARY_ULPS = 4

_LARGEST = torch.finfo(torch.float64).max
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


def library_up(x: Numbers) -> Numbers:
    """At least the exact value whose computed value is x, by a function of the math library.

    torch calls MKL's vector library, SLEEF or libm, by machine and layout; those functions that
    this package uses are documented with errors of at most 1 to 2 ulp, and the tests hold them to
    less than `LIBRARY_ULPS`. An ulp is at most 2^-52 |x|, or 2^-1074 for subnormal numbers; twice
    as many are added, so that neither the rounding of the sum matters nor whether ulps are counted
    at the exact value, in the next binade. -inf says that the exact value is not far above the
    least float.
    """
    known = x.clamp(min=-_LARGEST)
    return up(known + _library_error(known))


def library_down(x: Numbers) -> Numbers:
    """At most the exact value whose computed value is x; see `library_up`."""
    known = x.clamp(max=_LARGEST)
    return down(known - _library_error(known))


def sqrt_up(x: Numbers) -> Numbers:
    """At least the square root, of numbers that are not negative or inf; 0 of 0."""
    return torch.where(x == 0, 0.0, library_up(x.sqrt()))


def _library_error(x: Numbers) -> Numbers:
    ulps = 2.0 * LIBRARY_ULPS
    # An infinite end is as far out as ends go; its error would be inf - inf.
    return torch.where(x.isfinite(), x.abs() * (ulps * 2.0**-52) + ulps * 2.0**-1074, 0.0)

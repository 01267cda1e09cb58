"""Elementwise interval arithmetic with outward rounding (Moore, Kearfott, Cloud, 2009)."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import reduce
from typing import Self

import torch
from torch import Tensor

from .conversion import exactly, in_float64
from .environment import require_ieee_arithmetic
from .errors import NotABound, OutsideDomain
from .powers import odd_power_down, power_down, power_up
from .rounding import Numbers, down, sum_down, sum_up, up


@dataclass(frozen=True, eq=False, slots=True)
class Interval:
    """All real tensors between two float64 tensors of one shape, both ends included.

    An end of -inf or inf says that there is no bound on that side; members are always finite
    numbers. Each operation holds every result that its operands' members can give, in real
    arithmetic. Operands may be numbers and tensors as well, taken exactly, and broadcast.

    Args:
        lower: below inf.
        upper: not below `lower`, above -inf.

    Raises:
        NotABound: an end is NaN, the ends are crossed, or an end is an infinity of the wrong side.
        UnsoundArithmetic: this thread does not compute in IEEE arithmetic.
    """

    lower: Numbers
    upper: Numbers

    def __post_init__(self) -> None:
        require_ieee_arithmetic()
        for end in (self.lower, self.upper):
            if end.dtype != torch.float64 or end.device.type != "cpu":
                raise NotABound(f"bounds are float64 on the CPU, not {end.dtype} on {end.device}")
        if self.lower.shape != self.upper.shape:
            raise NotABound(f"shapes differ: {self.lower.shape} and {self.upper.shape}")
        # The difference is NaN where an end is, and where both are the same infinity; and then the
        # comparison is false.
        ordered = self.upper - self.lower >= 0
        if not bool(ordered.all()):
            raise NotABound(f"{int((~ordered).sum())} elements are NaN, crossed or misplaced")

    @classmethod
    def exact(cls, values: Tensor | float) -> Self:
        """The one tensor `values`: finite numbers of any real type that float64 holds exactly."""
        point = exactly(values)
        return cls(point, point)

    @classmethod
    def between(cls, lower: Tensor | float, upper: Tensor | float) -> Self:
        """From `lower` to `upper`, broadcast; both are taken exactly and may be infinite."""
        return cls(*_broadcast(in_float64(lower), in_float64(upper)))

    @classmethod
    def ball(cls, center: Tensor | float, radius: Tensor | float) -> Self:
        """From `center - radius` to `center + radius`, broadcast; the radius is not negative."""
        c, r = _broadcast(exactly(center), in_float64(radius))
        if not bool((r >= 0).all()):
            raise NotABound("a radius is NaN or negative")
        return cls(sum_down(c, -r), sum_up(c, r))

    @classmethod
    def near(cls, constant: float) -> Self:
        """The neighbours of a float: holds the real number that it was correctly rounded from."""
        return cls(down(exactly(constant)), up(exactly(constant)))

    @classmethod
    def of_fraction(cls, number: Fraction) -> Self:
        """A rational number between adjacent floats; a point where it is a float itself."""
        nearest = float(number)
        return cls.exact(nearest) if Fraction(nearest) == number else cls.near(nearest)

    @classmethod
    def entire(cls, shape: Sequence[int]) -> Self:
        """No bound at all."""
        infinite = torch.full(tuple(shape), math.inf, dtype=torch.float64)
        return cls(-infinite, infinite)

    @property
    def shape(self) -> torch.Size:
        """The shape of both ends."""
        return self.lower.shape

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return self.lower.ndim

    @property
    def is_exact(self) -> bool:
        """Whether this was made from one tensor; then `lower` is `upper`."""
        return self.lower is self.upper

    @property
    def magnitude(self) -> Numbers:
        """The largest absolute value of a member, elementwise; no rounding."""
        return torch.maximum(self.lower.abs(), self.upper.abs())

    @property
    def mignitude(self) -> Numbers:
        """The smallest absolute value of a member, elementwise; no rounding."""
        return torch.maximum(self.lower, -self.upper).clamp(min=0.0)

    def midpoint_radius(self) -> tuple[Numbers, Numbers]:
        """(c, r), c finite, so that c - r <= lower and upper <= c + r; r = inf without a bound."""
        if self.is_exact:
            return self.lower, torch.zeros_like(self.lower)
        middle = 0.5 * self.lower + 0.5 * self.upper
        # An infinite or NaN middle belongs to an unbounded interval, of which any centre will do.
        center = torch.where(middle.isfinite(), middle, 0.0)
        return center, torch.maximum(sum_up(self.upper, -center), sum_up(center, -self.lower))

    def contains(self, values: Tensor | float) -> Tensor:
        """Whether each value lies inside, ends included; false for NaN."""
        points = torch.as_tensor(values, dtype=torch.float64)
        return (self.lower <= points) & (points <= self.upper)

    def within(self, other: "Interval") -> Tensor:
        """Whether each element lies inside of the element of another."""
        return (other.lower <= self.lower) & (self.upper <= other.upper)

    def rearranged(self, move: Callable[[Tensor], Tensor]) -> "Interval":
        """Both ends after `move`, which reorders, repeats or drops elements and computes nothing.

        As `x.rearranged(lambda ends: ends.permute(1, 0)[:, 2:])`.
        """
        lower = move(self.lower)
        return Interval(lower, lower if self.is_exact else move(self.upper))

    def hull(self, other: "Operand") -> "Interval":
        """The smallest interval that holds both."""
        y = as_interval(other)
        return Interval(torch.minimum(self.lower, y.lower), torch.maximum(self.upper, y.upper))

    def intersection(self, other: "Operand") -> "Interval":
        """What two enclosures of one value leave of it.

        Raises:
            NotABound: they have nothing in common, so one of them was not an enclosure.
        """
        y = as_interval(other)
        return Interval(torch.maximum(self.lower, y.lower), torch.minimum(self.upper, y.upper))

    def maximum(self, other: "Operand") -> "Interval":
        """max(x, y); no rounding."""
        y = as_interval(other)
        return Interval(torch.maximum(self.lower, y.lower), torch.maximum(self.upper, y.upper))

    def minimum(self, other: "Operand") -> "Interval":
        """min(x, y); no rounding."""
        y = as_interval(other)
        return Interval(torch.minimum(self.lower, y.lower), torch.minimum(self.upper, y.upper))

    def square(self) -> "Interval":
        """x^2, which is never negative."""
        return self**2

    def __neg__(self) -> "Interval":
        negated = -self.upper
        return Interval(negated, negated if self.is_exact else -self.lower)

    def __abs__(self) -> "Interval":
        return Interval(self.mignitude, self.magnitude)

    def __add__(self, other: "Operand") -> "Interval":
        y = as_interval(other)
        return Interval(sum_down(self.lower, y.lower), sum_up(self.upper, y.upper))

    def __sub__(self, other: "Operand") -> "Interval":
        return self + -as_interval(other)

    def __mul__(self, other: "Operand") -> "Interval":
        return _between_products(self, as_interval(other))

    def __truediv__(self, other: "Operand") -> "Interval":
        return _between_quotients(self, as_interval(other))

    def __radd__(self, other: "Operand") -> "Interval":
        return self + other

    def __rsub__(self, other: "Operand") -> "Interval":
        return as_interval(other) - self

    def __rmul__(self, other: "Operand") -> "Interval":
        return self * other

    def __rtruediv__(self, other: "Operand") -> "Interval":
        return as_interval(other) / self

    def __pow__(self, exponent: int) -> "Interval":
        """x^n for an integer n; a negative one of an interval without 0."""
        if not isinstance(exponent, int):
            raise TypeError(f"exponents are integers, not {exponent}")
        if exponent < 0:
            return (1.0 / self) ** -exponent
        if exponent % 2:
            return Interval(
                odd_power_down(self.lower, exponent), -odd_power_down(-self.upper, exponent)
            )
        return Interval(power_down(self.mignitude, exponent), power_up(self.magnitude, exponent))


Operand = Interval | Tensor | float


def as_interval(operand: Operand) -> Interval:
    """An interval as it is; numbers and tensors exactly."""
    return operand if isinstance(operand, Interval) else Interval.exact(operand)


def _between_products(x: Interval, y: Interval) -> Interval:
    """Bounds of x y from the products of the ends (Moore et al., section 2.3).

    0 times an end that is infinite counts as 0, which is the product of 0 with each member.
    """
    return _around(torch.mul, x, y)


def _between_quotients(x: Interval, y: Interval) -> Interval:
    """Bounds of x / y from the quotients of the ends.

    inf / inf stands for the quotients of large members and counts as 0: of [a, inf] / [b, inf] they
    lie between the quotients a / inf = 0 and inf / b = inf of the other ends.

    Raises:
        OutsideDomain: a divisor may be 0.
    """
    divides = (y.lower > 0) | (y.upper < 0)
    if not bool(divides.all()):
        raise OutsideDomain(f"{int((~divides).sum())} divisors may be 0")
    return _around(torch.div, x, y)


def _around(operation: Callable[[Tensor, Tensor], Tensor], x: Interval, y: Interval) -> Interval:
    """The hull of what a correctly rounded operation gives of the ends, rounded outward.

    The sign of a product and of a quotient is that of its operands' signs, so where these do not
    allow a negative result, rounding outward stops at 0, and likewise for a positive one.
    """
    x_ends = (x.lower,) if x.is_exact else (x.lower, x.upper)
    y_ends = (y.lower,) if y.is_exact else (y.lower, y.upper)
    ends = [operation(a, b) for a in x_ends for b in y_ends]
    least, most = reduce(torch.minimum, ends), reduce(torch.maximum, ends)
    # torch's minimum is NaN where any end is.
    if bool(least.isnan().any()):
        known = [end.nan_to_num(0.0, math.inf, -math.inf) for end in ends]
        least, most = reduce(torch.minimum, known), reduce(torch.maximum, known)
    lower, upper = down(least), up(most)
    if bool((least == 0).any()):
        may_be_negative = ((x.lower < 0) & (y.upper > 0)) | ((x.upper > 0) & (y.lower < 0))
        lower = torch.where(may_be_negative, lower, lower.clamp(min=0.0))
    if bool((most == 0).any()):
        may_be_positive = ((x.upper > 0) & (y.upper > 0)) | ((x.lower < 0) & (y.lower < 0))
        upper = torch.where(may_be_positive, upper, upper.clamp(max=0.0))
    return Interval(lower, upper)


def _broadcast(x: Numbers, y: Numbers) -> tuple[Numbers, Numbers]:
    """Both in the shape that they have together."""
    shape = (x <= y).shape
    return x.expand(shape), y.expand(shape)

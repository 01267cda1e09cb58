"""Centres with radii: rounding is paid for once per operation, into the radius.

A ball (c, r) holds all t with |t - c| <= r, entry by entry. With u = 2^-53 each computed sum or
product is (1 + d) times the exact one, |d| <= u (Higham, Accuracy and Stability, section 2.2).
Radii are sums of products that are not negative; of at most a dozen roundings each, they are at
least the exact ones after times 1 + 2^-48. Underflow costs less than 2^-800 wherever factors stay
below 2^200, which `walk` sees to.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from certisolve_server.certifier.arithmetic import Interval

#: At least 32 roundings, relative.
ROUNDINGS = 2.0**-48
SMALLEST = 2.0**-800


class Ball(NamedTuple):
    """All numbers no further than `radius` from `center`; both finite, of one shape."""

    center: Tensor
    radius: Tensor

    @property
    def magnitude(self) -> Tensor:
        """At least the size of each member, up to one rounding that is left to the user."""
        return self.center.abs() + self.radius

    def row(self, index: "int | slice | Tensor") -> "Ball":
        """A part of the second axis."""
        return Ball(self.center[:, index], self.radius[:, index])


def ends(ball: Ball) -> tuple[Tensor, Tensor]:
    """Floats below and above all members."""
    around = (ball.radius + ROUNDINGS * ball.magnitude).add_(SMALLEST)
    return ball.center - around, ball.center + around


def between(lower: Tensor, upper: Tensor) -> Ball:
    """The ball that holds an interval with finite ends."""
    center = 0.5 * lower + 0.5 * upper
    radius = torch.maximum(upper - center, center - lower)
    return Ball(center, radius * (1.0 + ROUNDINGS) + SMALLEST)


def of_interval(interval: Interval) -> Ball:
    """The ball that holds an interval with finite ends."""
    return between(interval.lower, interval.upper)


def product(x: Ball, y: Ball) -> Ball:
    """X y, broadcast."""
    center = x.center * y.center
    size = y.center.abs()
    radius = x.center.abs() * y.radius + x.radius * (size + y.radius) + ROUNDINGS * center.abs()
    return Ball(center, radius.mul_(1.0 + ROUNDINGS).add_(SMALLEST))


def total(x: Ball, y: Ball) -> Ball:
    """X + y, of one shape."""
    center = x.center + y.center
    radius = x.radius + y.radius + ROUNDINGS * center.abs()
    return Ball(center, radius.mul_(1.0 + ROUNDINGS).add_(SMALLEST))


def stacked(parts: "list[Ball]") -> Ball:
    """Along the second axis."""
    return Ball(
        torch.cat([each.center for each in parts], 1), torch.cat([each.radius for each in parts], 1)
    )

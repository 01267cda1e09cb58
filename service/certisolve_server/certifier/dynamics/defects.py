"""By how much curves miss a field: d(t) = f(u(t)) - u'(t), enclosed on each step.

With u cubic on a step, (f o u)' lies in J u' almost everywhere, J the slopes of f on a box around
the step, so d' lies in J u' - u'' =: m +- r, and from the middle of the step

    |d(t)| <= |d(middle)| + (h/2) |d'|,      |integral of d - h d(middle)| <= r h^2 / 4,

since the integral of m t over a step around 0 vanishes.
"""

from collections.abc import Generator
from dataclasses import dataclass

import torch
from torch import Tensor

from certisolve_server.certifier.arithmetic import Interval, as_interval, matmul
from certisolve_server.certifier.arithmetic.rounding import product_up, sum_up

from .courses import Course
from .fields import Field


@dataclass(frozen=True, eq=False)
class Defects:
    """Of each step of each curve.

    Args:
        integral: (curves, N, n), of d over the step.
        largest: (curves, N, n), at least |d| on the step.
        around: (curves, N, n), boxes that hold the curve on the step.
        slopes: (curves, N, n, n), of the field on those boxes.
    """

    integral: Interval
    largest: Tensor
    around: Interval
    slopes: Interval


def defects(field: Field, course: Course) -> Generator[None, None, Defects]:
    """How far curves are from trajectories; pauses where a slice of the work is over.

    Raises:
        NotCertified: there is no bound of the field or its slopes near a curve.
        UnsupportedOperator: a rule does not hold for some arguments.
    """
    h, half = course.dt, 0.5 * course.dt
    x0, x1 = (Interval.exact(ends) for ends in (course.points[:, :-1], course.points[:, 1:]))
    v0, v1 = (Interval.exact(ends) for ends in (course.slopes[:, :-1], course.slopes[:, 1:]))
    # Of a polynomial all values lie between those of its Bezier coefficients (Farin, 2002, 4.3).
    around = _hull(x0, x0 + v0 * h / 3.0, x1 - v1 * h / 3.0, x1)
    chord = (x1 - x0) * 3.0 / h - v0 - v1
    velocity = _hull(v0, chord, v1)
    bend = _hull((chord - v0) * 2.0 / h, (v1 - chord) * 2.0 / h)
    middle = (x0 + x1) * 0.5 + (v0 - v1) * (0.125 * h)
    speed = (x1 - x0) * 1.5 / h - (v0 + v1) * 0.25
    at_middle = (yield from field.values(middle)) - speed
    slopes = yield from field.slopes(around)
    change = matmul(slopes, _column(velocity)).rearranged(lambda ends: ends.squeeze(-1)) - bend
    spread = change.midpoint_radius()[1]
    quarter = (as_interval(h) * h * 0.25).upper
    integral = at_middle * h + _symmetric(product_up(spread, quarter))
    largest = sum_up(
        at_middle.magnitude, product_up(change.magnitude, torch.tensor(half, dtype=torch.float64))
    )
    return Defects(integral, largest, around, slopes)


def _hull(first: Interval, *others: Interval) -> Interval:
    for other in others:
        first = first.hull(other)
    return first


def _column(x: Interval) -> Interval:
    return x.rearranged(lambda ends: ends.unsqueeze(-1))


def _symmetric(radius: Tensor) -> Interval:
    return Interval(-radius, radius)

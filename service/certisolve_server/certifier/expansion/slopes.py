"""Slopes of a nonlinearity on a set, entry by entry, around those at its center.

Values on the set are z(c) + t + r with |t| <= a entry by entry and |r|_2 <= rho of all of them
together. So the slopes are m + S + T: |S| <= s from all t, and of T, diagonal, from r: with L the
largest curvature, entries of |T| are at most L times those of two points' r (mean value theorem;
those of a pair of points are between theirs), so the squares of T sum to at most 2 (L rho)^2. Where
that gains nothing, or slopes jump, rho counts in every entry, and T is 0.
"""

import math
from dataclasses import dataclass

from torch import Tensor

from certisolve_server.certifier.arithmetic import Interval
from certisolve_server.certifier.errors import NotCertified
from certisolve_server.certifier.spectral_layers.network import Bend

from .layout import Layout
from .sizes import MORE, SMALLEST, lengths_along, spectral


@dataclass(frozen=True, eq=False)
class Slopes:
    """D = m + S + T, entry by entry, (*grid, channels).

    Args:
        center: m.
        spread: s.
        loose: at least the root of the sum of the squares of T.
        most: at least max |D| of each channel, (channels,).
    """

    center: Tensor
    spread: Tensor
    loose: float
    most: Tensor

    def bent(self, fields: Tensor) -> float:
        """At least |(S + T) F|_2 of F, (batch, *grid, channels): |T F|_F <= |T| max_n |F_n|_2."""
        each = lengths_along(fields, 0)
        return (spectral(self.spread * fields) + self.loose * float(each.amax())) * MORE


@dataclass(frozen=True, eq=False)
class Around:
    """Where the values of a node are.

    Args:
        at: z(c), in the sense of `expand`, (1, *shape).
        along: a, (*grid, channels).
        rest: rho.
        on_set: what else is known of them, (1, *shape).
        layout: of their fields.
    """

    at: Interval
    along: Tensor
    rest: float
    on_set: Interval
    layout: Layout

    def within(self, rest: float) -> Interval:
        """Z(c) + t + r with |r| <= rest entry by entry."""
        far = self.layout.from_fields((self.along + rest)[None]) * MORE + SMALLEST
        if far.numel() != math.prod(self.at.shape):
            raise NotCertified("an expansion takes factors of one shape")
        far = far.reshape(self.at.shape)
        return self.at + Interval(-far, far)


def constant_slopes(values: Interval, layout: Layout) -> Slopes:
    """Of a factor that does not vary on the set."""
    middle, off = layout.enclosed(values).midpoint_radius()
    return Slopes(middle, off, 0.0, _of_channels(layout.enclosed(values)))


def slopes_around(bend: Bend, around: Around, layout: Layout) -> list[Slopes]:
    """Both ways to slopes, that without T first.

    Args:
        bend: of the source.
        around: values of its node.
        layout: of the fields of the source.
    """
    middle = layout.enclosed(bend.slopes(around.at)).midpoint_radius()[0]
    wide = around.within(around.rest)
    # Where the center's values start afresh they may be just outside of the set's.
    known = wide.intersection(around.on_set).hull(around.at)
    whole = layout.enclosed(bend.slopes(known))
    most = _of_channels(whole)

    def spread(slopes: Interval) -> Tensor:
        return (slopes - Interval.exact(middle)).magnitude

    found = [Slopes(middle, spread(whole), 0.0, most)]
    steepest = float(bend.curvature(wide).magnitude.amax())
    loose = math.sqrt(2.0) * steepest * around.rest * MORE + SMALLEST
    if math.isfinite(loose):
        near = layout.enclosed(bend.slopes(around.within(0.0)))
        found.append(Slopes(middle, spread(near), loose, most))
    return found


def _of_channels(slopes: Interval) -> Tensor:
    return slopes.magnitude.flatten(0, -2).amax(0)

"""Norms of all slopes on a box, with what cancels between their entries, and where they only grow.

For many pairs of norms |J| is the largest of some lengths of entries: |J|_{p->linf} of the dual
lengths of rows, |J|_{l1->q} of the lengths of columns, |J|_{l1->linf} of single entries. Of one
such length g on a box:

- With |t| <= a t + b on [lower, upper] for any a from -1 to 1 and b from the ends,
  sum |J_i| <= sum a_i J_i(c) + sum b_i + sum_k |sum_i a_i H_ik| rho_k, where the H_ik cancel.
- If d g / d x_k, one of the members of sum_i sign(J_i) H_ik for the l1 length and of
  sum_i J_i H_ik, up to a positive factor, for the l2 length, cannot be 0, then g only grows or only
  falls along x_k on the box, and near it, as both are continuous there.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from certisolve_server.certifier.arithmetic import Interval
from certisolve_server.certifier.arithmetic.norms import Norm
from certisolve_server.certifier.norms import Norms

from .ball import ROUNDINGS, SMALLEST, Ball, product
from .walk import Enclosed

Length = Literal["l1", "l2"]


@dataclass(frozen=True)
class Lengths:
    """Lengths whose largest is the norm, each bounded on each box.

    Args:
        upper: (lengths, boxes).
        trends: (lengths, inputs, boxes): 1 where it only grows along an input, -1 where it only
            falls, 0 where neither is proven.
        bend: (lengths, inputs, boxes), about how much of each bound goes with the width of an
            input; not proven.
        seen: (boxes,), about the norm at the centres; not proven.
    """

    upper: Tensor
    trends: Tensor
    bend: Tensor
    seen: Tensor


def bound(found: Enclosed, radius: Tensor, norms: Norms) -> Lengths:
    """The norm on each box, as the largest of lengths.

    Args:
        found: on boxes of this radius.
        radius: (inputs, boxes).
        norms: with weights w: entry (o, i) counts w_o / w_i times, at its most.
    """
    outputs, inputs, _ = found.jacobian[0].shape
    kind = _kind(norms, outputs, inputs)
    if kind is None:
        lower, upper = (end.movedim(-1, 0) for end in found.jacobian)
        whole = norms.bound(Interval(lower, upper))
        nowhere = torch.zeros(1, inputs, len(whole), dtype=torch.float64)
        bend = (found.curvature.magnitude.sum((0, 1)) * radius).unsqueeze(0)
        upper = _given_up(found, whole.unsqueeze(0))
        return Lengths(upper, nowhere, bend, _seen(found, norms))
    grouping, length = kind
    grouped = _Grouped(found, radius, _scales(norms, outputs, inputs), grouping)
    upper = grouped.sum_of_sizes() if length == "l1" else grouped.root_of_squares()
    trends, seen = grouped.trends(length), grouped.seen(length)
    return Lengths(_given_up(found, upper), trends, grouped.bend(), seen)


def _given_up(found: Enclosed, upper: Tensor) -> Tensor:
    """Without a bound where a box was given up, or where there is none but NaN."""
    return torch.where(found.broken | upper.isnan(), torch.inf, upper)


def _seen(found: Enclosed, norms: Norms) -> Tensor:
    """About the norm at the centres, from the leading singular vector and from its signs."""
    outputs, inputs, _ = found.at_center.center.shape
    at = _scales(norms, outputs, inputs) * found.at_center.center.movedim(-1, 0)
    leading = torch.linalg.svd(at.nan_to_num(0.0, 0.0, 0.0), full_matrices=False).Vh[:, 0]
    direction = leading if norms.inputs == "l2" else leading.sign()
    image = (at @ direction.unsqueeze(2)).squeeze(2)
    orders = {"l1": 1.0, "l2": 2.0, "linf": torch.inf}
    length = torch.linalg.vector_norm(image, orders[norms.outputs], 1)
    size = length / torch.linalg.vector_norm(direction, orders[norms.inputs], 1)
    return torch.where(found.broken, 0.0, size.nan_to_num(0.0, 0.0, 0.0))


Grouping = Literal["rows", "columns", "entries"]


def _kind(norms: Norms, outputs: int, inputs: int) -> tuple[Grouping, Length] | None:
    """How entries are grouped, and what is the length of a group."""
    p, q = norms.inputs, norms.outputs
    if q == "linf" or outputs == 1:
        dual: dict[Norm, tuple[Grouping, Length]] = {
            "linf": ("rows", "l1"),
            "l2": ("rows", "l2"),
            "l1": ("entries", "l1"),
        }
        return dual[p]
    if p == "l1" or inputs == 1:
        return ("columns", "l1") if q == "l1" else ("columns", "l2")
    return None


def _scales(norms: Norms, outputs: int, inputs: int) -> Tensor:
    """At least w_o / w_i, (outputs, inputs)."""
    ones = Interval.exact(torch.ones(outputs, inputs, dtype=torch.float64))
    return norms.scaled(ones).upper


class _Grouped:
    """Slopes and second derivatives as (groups, entries, ...), scaled by numbers above 0."""

    def __init__(self, found: Enclosed, radius: Tensor, scales: Tensor, grouping: Grouping) -> None:
        self._grouping, self._found, self._radius = grouping, found, radius
        self._scale = self._of(scales.unsqueeze(-1))
        self._lower, self._upper = (self._of(end) for end in found.jacobian)
        self._at = Ball(*(self._of(part) for part in found.at_center))
        self._curvature = Ball(*(self._of(part) for part in found.curvature))
        self._sizes = torch.maximum(-self._lower, self._upper) * self._scale

    def _of(self, x: Tensor) -> Tensor:
        """(outputs, inputs, ...) as (groups, entries, ...)."""
        if self._grouping == "rows":
            return x
        return x.transpose(0, 1) if self._grouping == "columns" else x.flatten(0, 1).unsqueeze(1)

    def root_of_squares(self) -> Tensor:
        """At least the l2 length of each group."""
        total = (self._sizes * self._sizes).sum(1)
        return (total * (1.0 + ROUNDINGS * self._sizes.shape[1]) + SMALLEST).sqrt() * (
            1.0 + ROUNDINGS
        )

    def sum_of_sizes(self) -> Tensor:
        """At least the l1 length: entry by entry, or with what cancels between them."""
        entries = self._sizes.shape[1]
        apart = self._sizes.sum(1) * (1.0 + ROUNDINGS * entries) + SMALLEST
        slope = self._chords()
        at_ends = torch.maximum(
            self._upper.abs() - slope * self._upper, self._lower.abs() - slope * self._lower
        )
        reach = torch.maximum(self._upper.abs(), self._lower.abs())
        intercept = at_ends.clamp(min=0.0) + ROUNDINGS * reach
        at = slope * self._at.center + self._at.radius + ROUNDINGS * self._at.center.abs()
        weighted = slope.unsqueeze(2) * self._scale.unsqueeze(2)
        tilt = (weighted * self._curvature.center).sum(1).abs()
        size = self._scale.unsqueeze(2) * self._curvature.magnitude
        spread = (self._scale.unsqueeze(2) * self._curvature.radius).sum(1)
        tilt = tilt + spread + (4 + entries) * ROUNDINGS * size.sum(1)
        together = (self._scale * (at + intercept)).sum(1)
        total = (self._scale * (at.abs() + intercept)).sum(1) * (entries + 4) * ROUNDINGS
        inputs = tilt.shape[1]
        change = (tilt * self._radius).sum(1) * (1.0 + inputs * ROUNDINGS)
        together = (together + change + total) * (1.0 + ROUNDINGS) + SMALLEST
        together = torch.where(self._found.smooth, together, torch.inf)
        return torch.fmin(apart, together.clamp(min=0.0))

    def bend(self) -> Tensor:
        """What second derivatives, and slopes where there are none, add along each input."""
        size = (self._scale.unsqueeze(2) * self._curvature.magnitude).sum(1)
        return size * self._radius

    def seen(self, length: Length) -> Tensor:
        """About the largest length at the centres."""
        sizes = self._scale * self._at.center.abs()
        lengths = sizes.sum(1) if length == "l1" else (sizes * sizes).sum(1).sqrt()
        return torch.where(self._found.broken, 0.0, lengths.amax(0))

    def _chords(self) -> Tensor:
        """The slope a of |t| <= a t + b on each interval: of the chord where 0 is inside."""
        rise = self._upper + self._lower
        width = self._upper - self._lower
        chord = torch.where(width > 0, rise / torch.where(width > 0, width, 1.0), 0.0)
        chord = torch.where(self._lower >= 0, 1.0, chord)
        return torch.where(self._upper <= 0, -1.0, chord).clamp(-1.0, 1.0)

    def trends(self, length: Length) -> Tensor:
        """Where each length only grows or only falls."""
        inputs = self._radius.shape[0]
        if length == "l1":
            sign = (self._lower > 0).double() - (self._upper < 0).double()
            weight = Ball(sign * self._scale, torch.where(sign == 0, 1.0, 0.0) * self._scale)
        else:
            middle = 0.5 * (self._upper + self._lower)
            around = torch.maximum(self._upper - middle, middle - self._lower)
            square = self._scale * self._scale
            slack = ROUNDINGS * (middle.abs() + around)
            weight = Ball(middle * square, (around + slack) * square * (1.0 + 4.0 * ROUNDINGS))
        wide = Ball(weight.center.unsqueeze(2), weight.radius.unsqueeze(2))
        parts = product(wide, self._curvature)
        center = parts.center.sum(1)
        entries = parts.center.shape[1]
        errors = entries * ROUNDINGS * parts.center.abs().sum(1) + SMALLEST
        radius = (parts.radius.sum(1) + errors) * (1.0 + entries * ROUNDINGS)
        proven = (center.abs() > radius) & self._found.smooth & ~self._found.broken
        return torch.where(proven, center.sign(), torch.zeros_like(center)).reshape(
            -1, inputs, center.shape[-1]
        )

"""One pass over a tape: values, slopes and second derivatives on many boxes.

With c the centre of a box and |x - c| <= rho entry by entry, a value z with slopes J and second
derivatives H has on the box

    J(x) in J(c) + H(box) (x - c),
    z(x) in z(c) + J(box) (x - c),    z(x) in z(c) + J(c) (x - c) + (x - c)' H(box) (x - c) / 2

(Taylor's theorem; Moore, Kearfott and Cloud, Introduction to Interval Analysis, 2009, chapter 6).
Before a function is applied, what all these and the chain rule give is intersected. Slopes and
second derivatives are those of generalised gradients; both forms hold for each absolutely
continuous J.

Tensors are laid out (entries, quantities, boxes): all quantities of an atom go through an affine
map in one matrix product. The quantities are z(c), J(c), z, J and H, the pairs k <= l of H flat.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from certisolve_server.certifier.arithmetic import Interval, gamma, where
from certisolve_server.certifier.functions import Function

from .ball import ROUNDINGS, SMALLEST, Ball, between, ends, of_interval, product, stacked, total
from .tape import Affine, Apply, Multiply, Tape

#: Larger numbers are left to intervals; smaller ones cannot overflow or lose more than `SMALLEST`.
_LARGEST = 2.0**100

_ORDERS = (0, 1, 2)
_HALF_ROUNDED = 0.5 * (1.0 + ROUNDINGS)


@dataclass(frozen=True)
class Enclosed:
    """What is known of the output on each box.

    Args:
        jacobian: (outputs, inputs, boxes), by its ends.
        at_center: J(c), likewise, as a ball.
        curvature: H, (outputs, inputs, inputs, boxes), as a ball; not where `smooth` is false.
        smooth: (boxes,), whether second derivatives are known.
        broken: (boxes,), where numbers grew too large, or may leave the domain of a function, and
            nothing is known.
        smear: (inputs, boxes), the share of each input in what was too wide; not proven.
    """

    jacobian: tuple[Tensor, Tensor]
    at_center: Ball
    curvature: Ball
    smooth: Tensor
    broken: Tensor
    smear: Tensor


@torch.no_grad()
def enclose(tape: Tape, center: Tensor, radius: Tensor) -> Enclosed:
    """The slopes of a tape on boxes.

    Args:
        tape: of d inputs.
        center: (d, boxes), finite.
        radius: (d, boxes), finite, not negative.

    Raises:
        OutsideDomain: a function is not defined at the centre of a box.
    """
    walk = _Walk(tape.inputs, radius)
    atoms = [walk.input(center)]
    for step in tape.steps:
        if isinstance(step, Apply):
            atoms.append(walk.applied(step.function, walk.affine(step.of, atoms)))
        else:
            atoms.append(walk.multiplied(step, atoms))
    output = walk.sharpened(walk.affine(tape.output, atoms))
    curvature = output.curvature
    pairs = _pairs(tape.inputs).square
    full = Ball(curvature.center[:, pairs], curvature.radius[:, pairs])
    return Enclosed(
        output.slope_ends, output.slope_at, full, walk.smooth, walk.broken, walk.smear()
    )


@dataclass(frozen=True)
class _Pairs:
    """The entries of symmetric matrices, stored as k <= l.

    Args:
        square: (d, d), the position of each entry.
        first: k of each position.
        second: l.
    """

    square: Tensor
    first: Tensor
    second: Tensor


@cache
def _pairs(inputs: int) -> _Pairs:
    first, second = torch.triu_indices(inputs, inputs)
    square = torch.zeros(inputs, inputs, dtype=torch.long)
    square[first, second] = square[second, first] = torch.arange(len(first))
    return _Pairs(square, first, second)


@dataclass(frozen=True)
class _Known:
    """An argument of a function or a product, sharpened.

    Args:
        at: z(c), (entries, boxes).
        slope_at: J(c), (entries, inputs, boxes).
        value: the ends of z on the box.
        slope: J on the box.
        slope_ends: its ends.
        curvature: H.
    """

    at: Ball
    slope_at: Ball
    value: tuple[Tensor, Tensor]
    slope: Ball
    slope_ends: tuple[Tensor, Tensor]
    curvature: Ball


class _Walk:
    """The boxes, and which of them are given up."""

    def __init__(self, inputs: int, radius: Tensor) -> None:
        self._d, self._radius = inputs, radius
        self._pairs = _pairs(inputs)
        self.smooth = torch.ones(radius.shape[-1], dtype=torch.bool)
        self.broken = torch.zeros(radius.shape[-1], dtype=torch.bool)
        self._changes: list[Tensor] = []

    def smear(self) -> Tensor:
        """How far values move along each input, in shares of each step; of all steps together."""
        total = torch.zeros_like(self._radius)
        if bool(self.smooth.all()) and not bool(self.broken.any()):
            return total
        for change in self._changes:
            of_inputs = change.sum(0)
            total += (of_inputs / of_inputs.sum(0)).nan_to_num(0.0, 0.0, 0.0)
        return total

    def input(self, center: Tensor) -> Ball:
        """The identity."""
        d, boxes = center.shape
        centers = torch.zeros(d, 2 + 2 * d + len(self._pairs.first), boxes, dtype=torch.float64)
        identity = torch.eye(d, dtype=torch.float64).unsqueeze(-1)
        centers[:, 0] = centers[:, d + 1] = center
        centers[:, 1 : d + 1] = centers[:, d + 2 : 2 * d + 2] = identity
        radii = torch.zeros_like(centers)
        radii[:, d + 1] = self._radius
        return Ball(centers, radii)

    def affine(self, affine: Affine, atoms: Sequence[Ball]) -> Ball:
        """sum_a W_a z_a + b: n products and sums in any order err by gamma_n sum |W| |z| + |b|."""
        error = gamma(affine.terms + 4)
        shape = (affine.offset.shape[0], *atoms[0].center.shape[1:])
        center = torch.zeros(shape[0], shape[1] * shape[2], dtype=torch.float64)
        radius = torch.zeros_like(center)
        for source in affine.sources:
            atom = self._kept(atoms[source.atom])
            sizes = atom.center.abs()
            spread = torch.add(atom.radius, sizes, alpha=error)
            center.addmm_(source.matrix, atom.center.flatten(1))
            radius.addmm_(source.sizes, spread.flatten(1))
            if source.errors is not None:
                radius.addmm_(source.errors, (sizes + atom.radius).flatten(1))
        offset = of_interval(affine.offset)
        center, radius = center.view(shape), radius.view(shape)
        around = offset.radius + 4.0 * error * offset.center.abs()
        for row in (0, self._d + 1):
            center[:, row] += offset.center.unsqueeze(1)
            radius[:, row] += around.unsqueeze(1)
        radius.mul_(1.0 + 4.0 * error + ROUNDINGS).add_(SMALLEST)
        return Ball(center, radius)

    def _kept(self, atom: Ball) -> Ball:
        """The atom, with zeros in place of what is too large on some boxes, now given up."""
        largest = float(torch.maximum(atom.center.amax(), atom.radius.amax()))
        least = float(atom.center.amin())
        # False of NaN.
        if largest <= _LARGEST and least >= -_LARGEST:
            return atom
        fits = ((atom.center.abs() <= _LARGEST) & (atom.radius <= _LARGEST)).all(0)
        self.broken |= ~fits.all(0)
        # What is known at centres is still good for choosing where to cut.
        fits[: self._d + 1] = fits[: self._d + 1].all(0)
        fits[self._d + 1 :] = fits.all(0)
        return Ball(torch.where(fits, atom.center, 0.0), torch.where(fits, atom.radius, 0.0))

    def sharpened(self, z: Ball) -> _Known:
        """Every quantity in each of its forms."""
        d, rho = self._d, self._radius
        at, slope_at = Ball(z.center[:, 0], z.radius[:, 0]), z.row(slice(1, d + 1))
        curvature = z.row(slice(2 * d + 2, None))
        bend = curvature.magnitude[:, self._pairs.square].mul_(rho).sum(2)
        bend.mul_(1.0 + ROUNDINGS)
        low, high = ends(z.row(slice(d + 2, 2 * d + 2)))
        form = ends(Ball(slope_at.center, slope_at.radius + bend))
        if not bool(self.smooth.all()):
            form = _where(self.smooth, form)
        low, high = torch.maximum(low, form[0]), torch.minimum(high, form[1])
        value = self._value(z, at, slope_at, bend, torch.maximum(-low, high))
        return _Known(at, slope_at, value, between(low, high), (low, high), curvature)

    def _value(
        self, z: Ball, at: Ball, slope_at: Ball, bend: Tensor, steepest: Tensor
    ) -> tuple[Tensor, Tensor]:
        rho = self._radius
        second = torch.add(slope_at.magnitude, bend, alpha=_HALF_ROUNDED).mul_(rho).sum(1)
        changes = steepest * rho
        self._changes.append(changes)
        change = changes.sum(1)
        better = torch.minimum(change, second)
        change = better if bool(self.smooth.all()) else torch.where(self.smooth, better, change)
        form = ends(Ball(at.center, at.radius + change * (1.0 + ROUNDINGS)))
        low, high = ends(Ball(z.center[:, self._d + 1], z.radius[:, self._d + 1]))
        return torch.maximum(low, form[0]), torch.minimum(high, form[1])

    def applied(self, function: Function, z: Ball) -> Ball:
        """s(z): s'(z) J, and s''(z) J J' + s'(z) H."""
        x = self.sharpened(z)
        value, slope, curvature, at, slope_there = self._jet(function, x)
        outer = product(x.slope.row(self._pairs.first), x.slope.row(self._pairs.second))
        bent = total(product(_column(curvature), outer), product(_column(slope), x.curvature))
        parts = [
            _column(at),
            product(_column(slope_there), x.slope_at),
            _column(value),
            product(_column(slope), x.slope),
            bent,
        ]
        return stacked(parts)

    def _jet(self, function: Function, x: _Known) -> tuple[Ball, Ball, Ball, Ball, Ball]:
        """Value, slope and second derivative on the boxes, and the first two at their centres."""
        both = [torch.cat(pair, 1) for pair in zip(x.value, ends(x.at), strict=True)]
        boxes = len(self.smooth)
        found = self._where_defined(function, Interval(*both), boxes)
        value, slope, curvature = (each.rearranged(lambda end: end[:, :boxes]) for each in found)
        at, slope_at = (each.rearranged(lambda end: end[:, boxes:]) for each in found[:2])
        known = curvature.upper - curvature.lower < torch.inf
        if not bool(known.all()):
            self.smooth &= known.all(0)
            curvature = Interval(
                torch.where(known, curvature.lower, 0.0), torch.where(known, curvature.upper, 0.0)
            )
        finite = [self._finite(each) for each in (value, slope, at, slope_at)]
        return finite[0], finite[1], of_interval(curvature), finite[2], finite[3]

    def _where_defined(self, function: Function, x: Interval, boxes: int) -> list[Interval]:
        """Derivatives on boxes and at centres; boxes that leave the domain are given up.

        Raises:
            OutsideDomain: a centre is no point of the domain.
        """
        defined = function.defined(x)
        if not bool(defined.all()):
            on_box, at_center = defined[:, :boxes], defined[:, boxes:]
            self.broken |= ~(on_box & at_center).all(0)
            point = x.rearranged(lambda end: end[:, boxes:].repeat(1, 2))
            x = where(on_box.repeat(1, 2), x, point)
        return function.jet(x, _ORDERS)

    def _finite(self, x: Interval) -> Ball:
        """As a ball; boxes without bounds are given up."""
        known = x.upper - x.lower < torch.inf
        if not bool(known.all()):
            self.broken |= ~known.all(0)
            x = Interval(torch.where(known, x.lower, 0.0), torch.where(known, x.upper, 0.0))
        return of_interval(x)

    def multiplied(self, step: Multiply, atoms: Sequence[Ball]) -> Ball:
        """Products: x J_y + y J_x, and x H_y + y H_x + J_x J_y' + J_y J_x'."""
        x, y = (self.sharpened(self.affine(each, atoms)) for each in (step.left, step.right))
        x_value, y_value = between(*x.value), between(*y.value)
        first, second = self._pairs.first, self._pairs.second
        outer = total(
            product(x.slope.row(first), y.slope.row(second)),
            product(x.slope.row(second), y.slope.row(first)),
        )
        parts = [
            _column(product(x.at, y.at)),
            _cross(x.at, y.slope_at, y.at, x.slope_at),
            _column(product(x_value, y_value)),
            _cross(x_value, y.slope, y_value, x.slope),
            total(outer, _cross(x_value, y.curvature, y_value, x.curvature)),
        ]
        return stacked(parts)


def _cross(a: Ball, b: Ball, c: Ball, d: Ball) -> Ball:
    """A b + c d, of entries times rows."""
    return total(product(_column(a), b), product(_column(c), d))


def _column(x: Ball) -> Ball:
    return Ball(x.center.unsqueeze(1), x.radius.unsqueeze(1))


def _where(kept: Tensor, ends_of: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return (
        torch.where(kept, ends_of[0], -torch.inf),
        torch.where(kept, ends_of[1], torch.inf),
    )

"""What the methods of this package bound: affine maps with functions of one number between them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import torch

from certisolve_server.certifier.arithmetic import Interval, Operand, as_interval
from certisolve_server.certifier.arithmetic.rounding import Numbers
from certisolve_server.certifier.errors import InvalidRequest, NotCertified
from certisolve_server.certifier.functions.function import Function


@dataclass(frozen=True, eq=False)
class Slopes:
    """Between which numbers (f(s) - f(t)) / (s - t) lies, neuron by neuron.

    Args:
        least: alpha, (neurons,).
        most: beta, (neurons,), not below alpha.
    """

    least: Numbers
    most: Numbers

    def __post_init__(self) -> None:
        finite = self.least.isfinite() & self.most.isfinite()
        if not bool((finite & (self.least <= self.most)).all()):
            raise NotCertified("slopes of a layer are unbounded, crossed or NaN")
        if self.least.ndim != 1 or self.least.shape != self.most.shape:
            raise InvalidRequest("one least and one greatest slope for each neuron")

    @classmethod
    def of(cls, function: Function, neurons: int) -> "Slopes":
        """Of a function on the whole line.

        Raises:
            OutsideDomain: it is not defined there.
            NotCertified: its slopes have no bound.
        """
        slopes = function.derivative(Interval.entire((neurons,)))
        return cls(slopes.lower, slopes.upper)

    @property
    def neurons(self) -> int:
        """How many there are."""
        return self.least.shape[0]

    @property
    def cap(self) -> Numbers:
        """The largest size of a slope, (neurons,)."""
        return torch.maximum(self.least.abs(), self.most.abs())

    def repeated(self, copies: int) -> "Slopes":
        """The same, one copy after the other."""
        return Slopes(self.least.repeat(copies), self.most.repeat(copies))


@dataclass(frozen=True, eq=False)
class Folding:
    """Functions of groups of numbers that fold space: GroupSort, MaxMin and Householder's.

    Of differences u of arguments and v of values of a group, |v| <= |u|, and either its part along
    an axis is kept, as the mean by GroupSort, or all but that part, as by Householder's function
    (Pauli et al., ICLR 2024, theorem 1).

    Args:
        axes: s of each group of consecutive rows, not 0, of any length, (groups, size).
    """

    axes: Numbers

    def __post_init__(self) -> None:
        if self.axes.ndim != 2 or not bool(self.axes.isfinite().all()):
            raise InvalidRequest("one finite axis for each group")
        if not bool((self.axes != 0).any(-1).all()):
            raise InvalidRequest("the axis of a group is 0")

    @classmethod
    def group_sort(cls, neurons: int, size: int) -> "Folding":
        """Sorting groups of so many consecutive rows; MaxMin where there are two."""
        if size < 1 or neurons % size:
            raise InvalidRequest(f"groups of {size} do not divide {neurons} neurons")
        return cls(torch.ones(neurons // size, size, dtype=torch.float64))

    @classmethod
    def householder(cls, directions: Numbers) -> "Folding":
        """Keeps z where s.z > 0, and takes its mirror image z - 2 s (s.z) / (s.s) elsewhere."""
        return cls(directions)

    @property
    def neurons(self) -> int:
        """How many numbers there are in all groups."""
        return self.axes.numel()

    @property
    def groups(self) -> int:
        """How many there are."""
        return self.axes.shape[0]

    @property
    def cap(self) -> Numbers:
        """1 for each neuron: no difference grows."""
        return torch.ones(self.neurons, dtype=torch.float64)

    def repeated(self, copies: int) -> "Folding":
        """The same, one copy after the other."""
        return Folding(self.axes.repeat(copies, 1))


#: What is between two maps.
Layer: TypeAlias = Slopes | Folding


@dataclass(frozen=True, eq=False)
class Chain:
    """x = h_0, h_i = S_i h_{i-1} + G_i f_i(A_i h_{i-1} + b_i), y = A_L h_{L-1} + b_L; no b matters.

    Where S_i is left out it is 0, and where G_i is, the identity: a plain chain of maps and
    functions. Any graph of them is a chain whose h_i hold all that is still needed.

    A batch of maps is a block diagonal one, as convolutions are in the basis of Fourier; a function
    of one number mixes the blocks, but as each channel has one function, and one multiplier, at
    all points, its quadratic constraint, summed over the points, is block diagonal too.

    Args:
        maps: A_1 to A_L, exact or enclosed, (..., rows, columns), batches broadcast.
        slopes: of f_1 to f_{L-1}, or how they fold.
        copies: how many rows each neuron stands for, copy by copy: 2 where the rows are real parts
            and then imaginary ones.
        skips: S_1 to S_{L-1}, (..., size of h_i, size of h_{i-1}), None where it is 0; () for all.
        mixes: G_1 to G_{L-1}, (..., size of h_i, rows), None where it is the identity; () for all.
    """

    maps: tuple[Interval, ...]
    slopes: tuple[Layer, ...]
    copies: int = 1
    skips: tuple[Interval | None, ...] = ()
    mixes: tuple[Interval | None, ...] = ()

    def __post_init__(self) -> None:
        if len(self.maps) != len(self.slopes) + 1:
            raise InvalidRequest(f"{len(self.maps)} maps with {len(self.slopes)} layers between")
        for given in (self.skips, self.mixes):
            if given and len(given) != len(self.slopes):
                raise InvalidRequest(f"{len(given)} skips or mixes of {len(self.slopes)} layers")
        size = self.maps[0].shape[-1]
        for layer, slopes in enumerate(self.slopes):
            size = self._size_after(layer, slopes.neurons * self.copies, size)
        _require_shape(self.maps[-1], self.maps[-1].shape[-2], size)
        known = (*self.maps, *(a for a in (*self.skips, *self.mixes) if a is not None))
        if not all(bool(a.magnitude.isfinite().all()) for a in known):
            raise NotCertified("a map has elements without a bound")

    def _size_after(self, layer: int, rows: int, size: int) -> int:
        """Of h_i, from that of h_{i-1}."""
        _require_shape(self.maps[layer], rows, size)
        skip, mix = self.skip(layer), self.mix(layer)
        following = rows if mix is None else mix.shape[-2]
        if mix is not None:
            _require_shape(mix, following, rows)
        if skip is not None:
            _require_shape(skip, following, size)
        return following

    @classmethod
    def of(
        cls,
        maps: Sequence[Operand],
        slopes: Sequence[Layer],
        skips: Sequence[Operand | None] = (),
        mixes: Sequence[Operand | None] = (),
    ) -> "Chain":
        """From plain matrices or intervals of them."""
        return cls(
            tuple(as_interval(a) for a in maps),
            tuple(slopes),
            skips=tuple(None if a is None else as_interval(a) for a in skips),
            mixes=tuple(None if a is None else as_interval(a) for a in mixes),
        )

    def skip(self, layer: int) -> Interval | None:
        """S of the layer with this index, None where it is 0."""
        return self.skips[layer] if self.skips else None

    def mix(self, layer: int) -> Interval | None:
        """G of the layer with this index, None where it is the identity."""
        return self.mixes[layer] if self.mixes else None

    def require_plain(self) -> None:
        """Returns if there are neither skips nor mixes nor folds.

        Raises:
            NotCertified: there are, and who asks has no proof for them.
        """
        shortcuts = (*self.skips, *self.mixes)
        if any(isinstance(slopes, Folding) for slopes in self.slopes) or any(
            a is not None for a in shortcuts
        ):
            raise NotCertified("this bound is of plain chains of maps and slopes")

    @cached_property
    def rows(self) -> tuple[Layer, ...]:
        """The slopes, or folds, of each row of A_1 to A_{L-1}."""
        return tuple(slopes.repeated(self.copies) for slopes in self.slopes)

    @cached_property
    def centers(self) -> tuple[Numbers, ...]:
        """The maps as floats near them: for a search, not for a proof."""
        return tuple(a.midpoint_radius()[0] for a in self.maps)


def _require_shape(a: Interval, rows: int, columns: int) -> None:
    if tuple(a.shape[-2:]) != (rows, columns):
        raise InvalidRequest(f"a map of shape {tuple(a.shape)} where ({rows}, {columns}) fits")

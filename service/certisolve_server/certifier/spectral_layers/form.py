"""Tensors as linear maps of fields in the basis of Fourier, sparse where frequencies decide.

A real field h on a periodic grid is h(x) = sum_k h^(k) e^{2 pi i k x}, and a tensor that depends on
it linearly is, in the extension to complex fields,

    T[w, x, d] = sum_k sum_c G_k[w, d, c] h^_c(k) e^{2 pi i k x}

with w the indices along axes of waves, d along those of channels, and x the points of axes that
are (still) grids. After a transform along an axis an index w sees very few k, so G is kept entry by
entry: w, k, and a matrix over channels. Where nothing has been transformed yet k is `ANY`.

Norms are root mean squares over grids and sums of squares over the rest; `error` bounds in these
the norm of what differs from the entries: of constants that are not quite the basis, and of
rounding.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from typing import TypeAlias

import torch
from torch import Tensor

from certisolve_server.certifier.arithmetic import gamma
from certisolve_server.certifier.errors import NotCertified

#: A frequency on an axis along which all are treated alike.
ANY = 1 << 40

#: Of entries, more than which are not kept.
MOST_NUMBERS = 1 << 26

#: At least what underflow costs in one step, as a norm, of factors and entries of at most size 1:
#: 2^-1022 for each of less than 2^80 products.
SMALLEST = 2.0**-900


@dataclass(frozen=True)
class Grid:
    """An axis of points of a periodic grid, or of some of its points."""

    axis: int
    size: int


@dataclass(frozen=True)
class Wave:
    """An axis of which each entry has an index of its own."""

    size: int


@dataclass(frozen=True)
class Dense:
    """An axis of channels, whole in every entry."""

    size: int


Atom: TypeAlias = Grid | Wave | Dense

#: Of each axis of a tensor the atoms whose product it is, slowest first.
Axes: TypeAlias = tuple[tuple[Atom, ...], ...]


@dataclass(frozen=True, eq=False)
class Entries:
    """What a tensor takes of one source.

    Args:
        places: indices along the waves, in the order in which these occur, (entries, waves).
        frequencies: k, or `ANY`, (entries, axes of the grid).
        values: G, complex, (entries, *channels of the tensor, channels of the source).
        error: the norm of what is not in the entries is not above this.
        scale: by which values are to be multiplied, exactly; sizes of grids that cancel in the end.

    Raises:
        NotCertified: a number overflowed.
    """

    places: Tensor
    frequencies: Tensor
    values: Tensor
    error: float
    scale: Fraction = Fraction(1)

    def __post_init__(self) -> None:
        # A sum is finite only if its terms are. False of NaN.
        if not (self.error < math.inf and bool(self.values.sum().isfinite())):
            raise NotCertified("the numbers of spectral layers overflow")

    @cached_property
    def size(self) -> float:
        """At least the norm of what the entries hold; 0 of zeros alone.

        Of entries that treat different axes alike, 2^axes may meet at one frequency.
        """
        parts = torch.view_as_real(self.values)
        largest = float(parts.abs().amax()) if parts.numel() else 0.0
        if largest == 0.0:
            return 0.0
        # Of quotients by the largest one, no square matters that underflows, and none overflows.
        root = math.sqrt(float((parts / largest).square().sum()))
        meeting = math.sqrt(2 ** int(self.frequencies.shape[1]))
        size = largest * root * meeting * (1.0 + 2.0 * gamma(parts.numel() + 8))
        return size * abs(float(self.scale)) * (1.0 + 2.0**-50) + SMALLEST

    def error_after(self, norm: float, deviation: float, roundings: int) -> float:
        """At least the error of the image of all of it under a linear map.

        Args:
            norm: of the map that the entries are multiplied with is at most this.
            deviation: of that from the map that is meant is at most this.
            roundings: of a number of the image at most so many, in real and imaginary part.
        """
        error = more(norm * self.error * (1.0 + 2.0**-50), deviation, self.norm)
        error = more(error, gamma(roundings) * norm, self.size)
        return more(error, SMALLEST, 1.0 + norm + self.size)

    def unscaled(self) -> "Entries":
        """The same with a scale of 1."""
        if self.scale == 1:
            return self
        error = more(self.error, 2.0**-50, self.size) + SMALLEST
        values = self.values * float(self.scale)
        return replace(self, values=values, error=error, scale=Fraction(1))

    @property
    def norm(self) -> float:
        """At least the norm of all of it."""
        return float((self.size + self.error) * (1.0 + 2.0**-50))


@dataclass(frozen=True, eq=False)
class Form:
    """A tensor that varies, up to what does not: see the module.

    Args:
        axes: of the tensor.
        terms: by source.
    """

    axes: Axes
    terms: Mapping[int, Entries]

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the tensor."""
        return tuple(math.prod(atom.size for atom in axis) for axis in self.axes)

    @property
    def atoms(self) -> tuple[Atom, ...]:
        """Of all axes."""
        return tuple(atom for axis in self.axes for atom in axis)

    @property
    def is_field(self) -> bool:
        """Whether it has no axes of waves."""
        return not any(isinstance(atom, Wave) for atom in self.atoms)

    def mapped(self, change: Callable[[Entries], Entries], axes: Axes | None = None) -> "Form":
        """Each term changed."""
        terms = {source: change(entries) for source, entries in self.terms.items()}
        return Form(self.axes if axes is None else axes, terms)


def merged(entries: Entries) -> Entries:
    """Entries of one place and frequency added, zeros left out."""
    if entries.values.numel() > MOST_NUMBERS:
        raise NotCertified("spectral layers are too large")
    keys = torch.cat([entries.places, entries.frequencies], 1)
    if keys.shape[0] == 0:
        return entries
    unique, inverse, counts = torch.unique(keys, dim=0, return_inverse=True, return_counts=True)
    values, error = entries.values, entries.error
    if unique.shape[0] < keys.shape[0]:
        most = int(counts.max())
        error = more(error, gamma(most) * math.sqrt(most), entries.size)
        values = torch.zeros(unique.shape[0], *values.shape[1:], dtype=values.dtype)
        values = values.index_add(0, inverse, entries.values)
    else:
        values = torch.empty_like(values).index_copy(0, inverse, values)
    kept = (values != 0).flatten(1).any(1)
    waves = entries.places.shape[1]
    return replace(
        entries,
        places=unique[kept, :waves],
        frequencies=unique[kept, waves:],
        values=values[kept],
        error=error,
    )


def more(error: float, factor: float, size: float) -> float:
    """At least error + factor * size, up to underflow."""
    return (error + factor * size * (1.0 + 2.0**-50)) * (1.0 + 2.0**-50)

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
from typing import TypeAlias

import torch
from torch import Tensor

from certisolve_server.certifier.arithmetic import gamma
from certisolve_server.certifier.errors import NotCertified

#: A frequency on an axis along which all are treated alike.
ANY = 1 << 40

#: Of entries, more than which are not kept.
MOST_NUMBERS = 1 << 26


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
    """

    places: Tensor
    frequencies: Tensor
    values: Tensor
    error: float
    scale: Fraction = Fraction(1)

    @property
    def size(self) -> float:
        """At least the norm of what the entries hold.

        Of entries that treat different axes alike, 2^axes may meet at one frequency.
        """
        squares = (self.values.real.square() + self.values.imag.square()).sum()
        terms = 2 * max(1, self.values.numel()) + 8
        meeting = math.sqrt(2 ** int(self.frequencies.shape[1]))
        size = math.sqrt(float(squares)) * meeting * (1.0 + 2.0 * gamma(terms))
        return size * abs(float(self.scale)) * (1.0 + 2.0**-50)

    def unscaled(self) -> "Entries":
        """The same with a scale of 1."""
        if self.scale == 1:
            return self
        error = more(self.error, 2.0**-50, self.size)
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


def position(form: Form, axis: int, place: int, kind: type) -> int:
    """How many atoms of this kind come before one of an axis."""
    before = [atom for each in form.axes[:axis] for atom in each] + list(form.axes[axis][:place])
    return sum(isinstance(atom, kind) for atom in before)


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
    kept = values.flatten(1).abs().amax(1) > 0
    waves = entries.places.shape[1]
    return replace(
        entries,
        places=unique[kept, :waves],
        frequencies=unique[kept, waves:],
        values=values[kept],
        error=error,
    )


def more(error: float, factor: float, size: float) -> float:
    """At least error + factor * size."""
    return (error + factor * size * (1.0 + 2.0**-50)) * (1.0 + 2.0**-50)


def spread(form: Form, axis: int, place: int) -> Form:
    """With an atom of channels as waves."""
    atom = form.axes[axis][place]
    dense, wave = position(form, axis, place, Dense), position(form, axis, place, Wave)
    index = torch.arange(atom.size)

    def change(entries: Entries) -> Entries:
        values = entries.values.movedim(1 + dense, 1).flatten(0, 1)
        places = entries.places.repeat_interleave(atom.size, 0)
        column = index.repeat(entries.places.shape[0])[:, None]
        places = torch.cat([places[:, :wave], column, places[:, wave:]], 1)
        frequencies = entries.frequencies.repeat_interleave(atom.size, 0)
        return merged(replace(entries, places=places, frequencies=frequencies, values=values))

    atoms = (*form.axes[axis][:place], Wave(atom.size), *form.axes[axis][place + 1 :])
    return form.mapped(change, (*form.axes[:axis], atoms, *form.axes[axis + 1 :]))


def permuted(form: Form, order: tuple[int, ...]) -> Form:
    """Axes in another order."""
    axes = tuple(form.axes[axis] for axis in order)
    waves, dense = (_moved(form, order, kind) for kind in (Wave, Dense))

    def change(entries: Entries) -> Entries:
        channels = [1 + d for d in dense]
        values = entries.values.permute(0, *channels, entries.values.ndim - 1)
        return replace(entries, places=entries.places[:, waves], values=values)

    return form.mapped(change, axes)


def _moved(form: Form, order: tuple[int, ...], kind: type) -> list[int]:
    """Where the atoms of a kind were, in the new order."""
    return [
        position(form, axis, place, kind)
        for axis in order
        for place, atom in enumerate(form.axes[axis])
        if isinstance(atom, kind)
    ]

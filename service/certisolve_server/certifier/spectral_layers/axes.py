"""The axes of forms: where their atoms stand among indices and channels, and in which order."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from certisolve_server.certifier.errors import NotCertified

from .form import Atom, Dense, Entries, Form, Grid, Wave, merged


def position(form: Form, axis: int, place: int, kind: type) -> int:
    """How many atoms of this kind come before one of an axis."""
    before = [atom for each in form.axes[:axis] for atom in each] + list(form.axes[axis][:place])
    return sum(isinstance(atom, kind) for atom in before)


def joint_index(places: Tensor, first: int, sizes: Sequence[int]) -> Tensor:
    """Indices along several waves, one after the other from the first, as one, (entries,)."""
    index = torch.zeros(places.shape[0], dtype=torch.int64)
    for column, size in enumerate(sizes):
        index = index * size + places[:, first + column]
    return index


def with_waves(places: Tensor, first: int, count: int, *columns: Tensor) -> Tensor:
    """Indices along waves with those of some of them replaced by others, (entries, waves)."""
    new = [column[:, None] for column in columns]
    return torch.cat([places[:, :first], *new, places[:, first + count :]], 1)


def spread(form: Form, axis: int, place: int) -> Form:
    """With an atom of channels as waves."""
    atom = form.axes[axis][place]
    dense, wave = position(form, axis, place, Dense), position(form, axis, place, Wave)
    index = torch.arange(atom.size)

    def change(entries: Entries) -> Entries:
        values = entries.values.movedim(1 + dense, 1).flatten(0, 1)
        places = entries.places.repeat_interleave(atom.size, 0)
        column = index.repeat(entries.places.shape[0])
        places = with_waves(places, wave, 0, column)
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


def dropped(form: Form, axis: int) -> Form:
    """Without an axis of size 1."""
    for place, atom in reversed(list(enumerate(form.axes[axis]))):
        if isinstance(atom, Grid):
            raise NotCertified("drops an axis of a grid")
        number = position(form, axis, place, type(atom))

        def change(entries: Entries, of: Atom = atom, at: int = number) -> Entries:
            if isinstance(of, Dense):
                return replace(entries, values=entries.values.squeeze(1 + at))
            return replace(entries, places=with_waves(entries.places, at, 1))

        atoms = (*form.axes[axis][:place], *form.axes[axis][place + 1 :])
        form = form.mapped(change, (*form.axes[:axis], atoms, *form.axes[axis + 1 :]))
    return Form((*form.axes[:axis], *form.axes[axis + 1 :]), form.terms)


def unsqueezed(form: Form, axis: int) -> Form:
    """With an axis of size 1 before one."""
    return Form((*form.axes[:axis], (), *form.axes[axis:]), form.terms)


def as_channels(form: Form, axis: int) -> Form:
    """With an axis of channels that is one atom, where it is of channels or of size 1."""
    if not all(isinstance(atom, Dense) for atom in form.axes[axis]):
        raise NotCertified("channels are mixed with points of a grid")
    number, count = position(form, axis, 0, Dense), len(form.axes[axis])
    size = form.shape[axis]

    def change(entries: Entries) -> Entries:
        shape = entries.values.shape
        joined = (*shape[: 1 + number], size, *shape[1 + number + count :])
        return replace(entries, values=entries.values.reshape(joined))

    return form.mapped(change, (*form.axes[:axis], (Dense(size),), *form.axes[axis + 1 :]))


def _moved(form: Form, order: tuple[int, ...], kind: type) -> list[int]:
    """Where the atoms of a kind were, in the new order."""
    return [
        position(form, axis, place, kind)
        for axis in order
        for place, atom in enumerate(form.axes[axis])
        if isinstance(atom, kind)
    ]

"""Parts of the axes of forms: taken out, put among zeros, summed up."""

import math
from dataclasses import replace

import torch

from certisolve_server.certifier.errors import NotCertified

from .axes import as_channels, dropped, position, spread, with_waves
from .form import Dense, Entries, Form, Grid, Wave, merged, more


def selected(form: Form, axis: int, index: int) -> Form:
    """One entry of an axis, which is gone."""
    start = index % form.shape[axis]
    return dropped(narrowed(form, axis, start, start + 1), axis)


def narrowed(form: Form, axis: int, start: int, stop: int) -> Form:
    """Some entries of an axis that is no grid."""
    size = form.shape[axis]
    if (start, stop) == (0, size):
        return form
    if len(form.axes[axis]) != 1 or isinstance(form.axes[axis][0], Grid):
        raise NotCertified("takes a part of an axis of a grid")
    atom = form.axes[axis][0]
    number = position(form, axis, 0, type(atom))

    def change(entries: Entries) -> Entries:
        if isinstance(atom, Dense):
            return replace(entries, values=entries.values.narrow(1 + number, start, stop - start))
        column = entries.places[:, number]
        keep = (column >= start) & (column < stop)
        places = entries.places[keep].clone()
        places[:, number] -= start
        return replace(
            entries,
            places=places,
            frequencies=entries.frequencies[keep],
            values=entries.values[keep],
        )

    part = Dense(stop - start) if isinstance(atom, Dense) else Wave(stop - start)
    axes = (*form.axes[:axis], (part,), *form.axes[axis + 1 :])
    return form.mapped(change, axes)


def placed(form: Form, axis: int, start: int, total: int) -> Form:
    """As a part of a longer axis, zeros around."""
    atoms = form.axes[axis]
    if len(atoms) == 1 and isinstance(atoms[0], Wave):
        return _placed_waves(form, axis, start, total)
    form = as_channels(form, axis)
    number, size = position(form, axis, 0, Dense), form.shape[axis]

    def change(entries: Entries) -> Entries:
        shape = list(entries.values.shape)
        shape[1 + number] = total
        values = torch.zeros(shape, dtype=entries.values.dtype)
        values.narrow(1 + number, start, size).copy_(entries.values)
        return replace(entries, values=values)

    return form.mapped(change, (*form.axes[:axis], (Dense(total),), *form.axes[axis + 1 :]))


def _placed_waves(form: Form, axis: int, start: int, total: int) -> Form:
    number = position(form, axis, 0, Wave)

    def change(entries: Entries) -> Entries:
        places = entries.places.clone()
        places[:, number] += start
        return replace(entries, places=places)

    return form.mapped(change, (*form.axes[:axis], (Wave(total),), *form.axes[axis + 1 :]))


def summed(form: Form, axis: int) -> Form:
    """The sum along an axis of channels or waves, which is gone."""
    size = form.shape[axis]
    for place, atom in enumerate(form.axes[axis]):
        if isinstance(atom, Grid):
            raise NotCertified("sums over the points of a grid")
        if isinstance(atom, Dense):
            form = spread(form, axis, place)
    number, count = position(form, axis, 0, Wave), len(form.axes[axis])

    def change(entries: Entries) -> Entries:
        places = with_waves(entries.places, number, count)
        error = more(0.0, entries.error, math.sqrt(size))
        return merged(replace(entries, places=places, error=error))

    return form.mapped(change, (*form.axes[:axis], *form.axes[axis + 1 :]))

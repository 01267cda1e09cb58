"""Forms in other shapes: axes split, joined, dropped, repeated; parts put beside each other."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from certisolve_server.certifier.errors import NotCertified

from .form import Atom, Dense, Entries, Form, Grid, Wave, merged, more, position, spread


def reshaped(form: Form, shape: tuple[int, ...]) -> Form:
    """The same numbers in C order in another shape, in which no axis of a grid is cut."""
    if -1 in shape:
        known = -math.prod(shape)
        shape = tuple(math.prod(form.shape) // known if size == -1 else size for size in shape)
    if math.prod(shape) != math.prod(form.shape):
        raise NotCertified("a reshape changes how many numbers there are")
    flat = Form((form.atoms,), form.terms)
    place, axes = 0, []
    for size in shape:
        start, have = place, 1
        while have < size:
            flat = _cut(flat, place, size // have)
            have *= flat.axes[0][place].size
            place += 1
        if have != size:
            raise NotCertified("a reshape cuts the axes of a grid")
        axes.append((start, place))
    # Atoms of size 1 at the end belong to the last axis.
    ends = [stop for _, stop in axes]
    if ends:
        ends[-1] = len(flat.axes[0])
    starts = [0, *ends[:-1]]
    return Form(tuple(flat.axes[0][a:b] for a, b in zip(starts, ends, strict=True)), flat.terms)


def _cut(form: Form, place: int, size: int) -> Form:
    """With the atom at a place cut so that its first part has at most this size."""
    atom = form.axes[0][place]
    if atom.size <= size:
        return form
    if isinstance(atom, Grid) or atom.size % size:
        raise NotCertified("a reshape cuts an axis of a grid")
    rest = atom.size // size
    parts: tuple[Atom, ...] = (type(atom)(size), type(atom)(rest))
    number = position(form, 0, place, type(atom))

    def change(entries: Entries) -> Entries:
        if isinstance(atom, Dense):
            return replace(
                entries, values=torch.unflatten(entries.values, 1 + number, (size, rest))
            )
        column = entries.places[:, number : number + 1]
        places = torch.cat(
            [
                entries.places[:, :number],
                column // rest,
                column % rest,
                entries.places[:, number + 1 :],
            ],
            1,
        )
        return replace(entries, places=places)

    atoms = form.axes[0]
    return form.mapped(change, ((*atoms[:place], *parts, *atoms[place + 1 :]),))


def selected(form: Form, axis: int, index: int) -> Form:
    """One entry of an axis, which is gone."""
    size = form.shape[axis]
    start = index % size
    narrowed_form = narrowed(form, axis, start, start + 1)
    return dropped(narrowed_form, axis)


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


def dropped(form: Form, axis: int) -> Form:
    """Without an axis of size 1."""
    for place, atom in reversed(list(enumerate(form.axes[axis]))):
        if isinstance(atom, Grid):
            raise NotCertified("drops an axis of a grid")
        number = position(form, axis, place, type(atom))

        def change(entries: Entries, of: Atom = atom, at: int = number) -> Entries:
            if isinstance(of, Dense):
                return replace(entries, values=entries.values.squeeze(1 + at))
            places = torch.cat([entries.places[:, :at], entries.places[:, at + 1 :]], 1)
            return replace(entries, places=places)

        atoms = (*form.axes[axis][:place], *form.axes[axis][place + 1 :])
        form = form.mapped(change, (*form.axes[:axis], atoms, *form.axes[axis + 1 :]))
    return Form((*form.axes[:axis], *form.axes[axis + 1 :]), form.terms)


def unsqueezed(form: Form, axis: int) -> Form:
    """With an axis of size 1 before one."""
    return Form((*form.axes[:axis], (), *form.axes[axis:]), form.terms)


def expanded(form: Form, shape: Sequence[int]) -> Form:
    """Repeated along axes of size 1, as torch broadcasts."""
    for _ in range(len(shape) - len(form.axes)):
        form = unsqueezed(form, 0)
    for axis, size in enumerate(shape):
        if size not in (-1, form.shape[axis]):
            form = _repeated(form, axis, size)
    return form


def _repeated(form: Form, axis: int, size: int) -> Form:
    if form.shape[axis] != 1:
        raise NotCertified("shapes do not agree")
    form = unsqueezed(dropped(form, axis), axis)
    number = position(form, axis, 0, Dense)

    def change(entries: Entries) -> Entries:
        values = entries.values.unsqueeze(1 + number)
        values = values.repeat_interleave(size, 1 + number)
        return replace(entries, values=values, error=more(0.0, entries.error, math.sqrt(size)))

    return form.mapped(change, (*form.axes[:axis], (Dense(size),), *form.axes[axis + 1 :]))


def as_channels(form: Form, axis: int) -> Form:
    """With an axis of channels that is one atom, where it is of channels or of size 1."""
    if not all(isinstance(atom, Dense) for atom in form.axes[axis]):
        raise NotCertified("channels are mixed with points of a grid")
    number, count = position(form, axis, 0, Dense), len(form.axes[axis])
    size = form.shape[axis]

    def change(entries: Entries) -> Entries:
        values = entries.values
        shape = values.shape
        return replace(
            entries, values=values.reshape(*shape[: 1 + number], size, *shape[1 + number + count :])
        )

    return form.mapped(change, (*form.axes[:axis], (Dense(size),), *form.axes[axis + 1 :]))


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
        places = torch.cat([entries.places[:, :number], entries.places[:, number + count :]], 1)
        error = more(0.0, entries.error, math.sqrt(size))
        return merged(replace(entries, places=places, error=error))

    return form.mapped(change, (*form.axes[:axis], *form.axes[axis + 1 :]))


def added(one: Form, other: Form) -> Form:
    """The sum of two tensors."""
    shape = tuple(np.broadcast_shapes(one.shape, other.shape))
    one, other = aligned(expanded(one, shape), expanded(other, shape))
    terms = dict(one.terms)
    for source, entries in other.terms.items():
        terms[source] = _sum(terms[source], entries) if source in terms else entries
    return Form(one.axes, terms)


def _sum(one: Entries, other: Entries) -> Entries:
    if one.scale != other.scale:
        one, other = one.unscaled(), other.unscaled()
    return merged(
        Entries(
            torch.cat([one.places, other.places]),
            torch.cat([one.frequencies, other.frequencies]),
            torch.cat([one.values, other.values]),
            more(one.error, 1.0, other.error),
            one.scale,
        )
    )


def aligned(one: Form, other: Form) -> tuple[Form, Form]:
    """Both with the same atoms, channels made waves where one of them has waves."""
    for axis in range(len(one.axes)):
        one, other = _alike(one, other, axis)
    if one.axes != other.axes:
        raise NotCertified(f"adds what has different structure: {one.axes} and {other.axes}")
    return one, other


def _alike(one: Form, other: Form, axis: int) -> tuple[Form, Form]:
    if all(isinstance(atom, Dense) for form in (one, other) for atom in form.axes[axis]):
        if one.axes[axis] != other.axes[axis]:
            return as_channels(one, axis), as_channels(other, axis)
        return one, other
    for place in range(min(len(one.axes[axis]), len(other.axes[axis]))):
        kinds = {type(form.axes[axis][place]) for form in (one, other)}
        if kinds == {Dense, Wave}:
            if isinstance(one.axes[axis][place], Dense):
                one = spread(one, axis, place)
            else:
                other = spread(other, axis, place)
    return one, other


def without_grids(values: Tensor, form: Form) -> Tensor | None:
    """A constant of the shape of a form, by waves and then channels; None if it varies on a grid.

    Args:
        values: of the shape of the form.
        form: whose atoms these are.
    """
    apart = values.reshape([atom.size for atom in form.atoms])
    waves = [i for i, atom in enumerate(form.atoms) if isinstance(atom, Wave)]
    dense = [i for i, atom in enumerate(form.atoms) if isinstance(atom, Dense)]
    grids = [i for i, atom in enumerate(form.atoms) if isinstance(atom, Grid)]
    ordered = apart.permute(*grids, *waves, *dense)
    flat = ordered.reshape(-1, *ordered.shape[len(grids) :]) if grids else ordered[None]
    return flat[0] if bool((flat == flat[:1]).all()) else None

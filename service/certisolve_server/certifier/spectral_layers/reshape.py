"""Forms in another shape."""

import math
from dataclasses import replace

import torch

from certisolve_server.certifier.errors import NotCertified

from .axes import position, with_waves
from .form import Atom, Dense, Entries, Form, Grid


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
            if size % have:
                raise NotCertified("a reshape cuts across axes")
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
            values = torch.unflatten(entries.values, 1 + number, (size, rest))
            return replace(entries, values=values)
        column = entries.places[:, number]
        places = with_waves(entries.places, number, 1, column // rest, column % rest)
        return replace(entries, places=places)

    atoms = form.axes[0]
    return form.mapped(change, ((*atoms[:place], *parts, *atoms[place + 1 :]),))

"""Forms brought to one shape: repeated as torch broadcasts, with axes alike, and added."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from certisolve_server.certifier.errors import NotCertified

from .axes import as_channels, dropped, position, spread, unsqueezed
from .form import Dense, Entries, Form, Wave, merged, more


def added(one: Form, other: Form) -> Form:
    """The sum of two tensors."""
    shape = tuple(np.broadcast_shapes(one.shape, other.shape))
    one, other = aligned(expanded(one, shape), expanded(other, shape))
    terms = dict(one.terms)
    for source, entries in other.terms.items():
        terms[source] = _sum(terms[source], entries) if source in terms else entries
    return Form(one.axes, terms)


def aligned(one: Form, other: Form) -> tuple[Form, Form]:
    """Both with the same atoms, channels made waves where one of them has waves."""
    for axis in range(len(one.axes)):
        one, other = _alike(one, other, axis)
    if one.axes != other.axes:
        raise NotCertified(f"adds what has different structure: {one.axes} and {other.axes}")
    return one, other


def expanded(form: Form, shape: Sequence[int]) -> Form:
    """Repeated along axes of size 1, as torch broadcasts."""
    for _ in range(len(shape) - len(form.axes)):
        form = unsqueezed(form, 0)
    for axis, size in enumerate(shape):
        if size not in (-1, form.shape[axis]):
            form = _repeated(form, axis, size)
    return form


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

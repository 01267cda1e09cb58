"""Products of forms with constant matrices over channels."""

import math
from dataclasses import replace

import torch

from certisolve_server.certifier.arithmetic import Interval
from certisolve_server.certifier.errors import NotCertified

from .axes import joint_index, position, spread
from .basis import frobenius
from .form import Dense, Entries, Form, Grid


def over_channels(form: Form, axis: int, matrix: Interval) -> Form:
    """Along an axis of channels alone."""
    count = len(form.axes[axis])
    first = position(form, axis, 0, Dense)
    center, radius = matrix.midpoint_radius()
    norm, deviation = frobenius(Interval.exact(center)), frobenius(Interval.exact(radius))

    def change(entries: Entries) -> Entries:
        dims = list(range(1 + first, 1 + first + count))
        values = entries.values.movedim(dims, list(range(-count, 0)))
        flat = values.flatten(-count) if count > 1 else values
        result = (flat @ center.mT.to(flat.dtype)).movedim(-1, 1 + first)
        error = entries.error_after(norm, deviation, 4 * center.shape[1] + 8)
        return replace(entries, values=result, error=error)

    axes = (*form.axes[:axis], (Dense(center.shape[0]),), *form.axes[axis + 1 :])
    return form.mapped(change, axes)


def matrix_of_each(form: Form, matrices: Interval) -> Form:
    """Each of the places along the first axis with a matrix of its own, from the right (bmm)."""
    for place, atom in enumerate(form.axes[0]):
        if isinstance(atom, Dense):
            form = spread(form, 0, place)
    sizes = [atom.size for atom in form.axes[0]]
    if any(isinstance(atom, Grid) for atom in form.axes[0]):
        raise NotCertified("each point of a grid is multiplied with a matrix of its own")
    if len(form.axes[2]) != 1 or not isinstance(form.axes[2][0], Dense):
        raise NotCertified("matrices for each frequency are not applied to channels")
    channel = position(form, 2, 0, Dense)
    center, radius = matrices.midpoint_radius()
    norm, deviation = frobenius(Interval.exact(center)), frobenius(Interval.exact(radius))

    def change(entries: Entries) -> Entries:
        index = joint_index(entries.places, 0, sizes)
        values = entries.values.movedim(1 + channel, -1)
        shape = values.shape
        flat = values.reshape(shape[0], math.prod(shape[1:-1]), shape[-1])
        result = torch.bmm(flat, center[index].to(flat.dtype))
        result = result.reshape(*shape[:-1], center.shape[2]).movedim(-1, 1 + channel)
        error = entries.error_after(norm, deviation, 4 * shape[-1] + 8)
        return replace(entries, values=result, error=error)

    return form.mapped(change, (*form.axes[:2], (Dense(center.shape[2]),)))

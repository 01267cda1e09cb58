"""Sums, and products with constants, entry by entry."""

from dataclasses import replace
from types import MappingProxyType

import numpy as np
from torch import Tensor

from certisolve_server.certifier.arithmetic import Interval
from certisolve_server.certifier.errors import NotCertified
from certisolve_server.certifier.spectral_layers.form import Dense, Entries, Form, Grid, Wave
from certisolve_server.certifier.spectral_layers.network import Sources
from certisolve_server.certifier.spectral_layers.shapes import added, expanded

from .rule import Operand, Rules


def add(sources: Sources, self: Operand, other: Operand, alpha: float = 1) -> Form:
    """Self + alpha other; of a constant only the shape counts."""
    if isinstance(self, Form) and isinstance(other, Form):
        return added(self, times(other, _exact(alpha), sources))
    varying, constant = (self, other) if isinstance(self, Form) else (other, self)
    if not isinstance(varying, Form):
        raise NotCertified("adds constants")
    form = varying if varying is self else times(varying, _exact(alpha), sources)
    if isinstance(constant, Interval):
        form = expanded(form, np.broadcast_shapes(form.shape, constant.shape))
    return form


def subtract(sources: Sources, self: Operand, other: Operand, alpha: float = 1) -> Form:
    """Self - alpha other."""
    return add(sources, self, other, -alpha)


def multiply(sources: Sources, self: Operand, other: Operand) -> Form:
    """With a constant."""
    form, factor = (self, other) if isinstance(self, Form) else (other, self)
    if not isinstance(form, Form) or isinstance(factor, Form):
        raise NotCertified("multiplies two tensors that vary")
    return times(form, factor if isinstance(factor, Interval) else _exact(factor), sources)


def divide(sources: Sources, self: Operand, other: Operand) -> Form:
    """By a constant."""
    if not isinstance(self, Form) or isinstance(other, Form):
        raise NotCertified("divides by a tensor that varies")
    divisor = other if isinstance(other, Interval) else _exact(other)
    return times(self, 1.0 / divisor, sources)


def negative(sources: Sources, self: Form) -> Form:
    """- self."""
    return times(self, _exact(-1.0), sources)


def times(form: Form, factor: Interval, sources: Sources) -> Form:
    """A form times a constant, broadcast: a new field if that varies on a grid."""
    form = expanded(form, np.broadcast_shapes(form.shape, factor.shape))
    whole = factor.rearranged(lambda ends: ends.expand(form.shape))
    ends = [_without_grids(end, form) for end in (whole.lower, whole.upper)]
    if ends[0] is None or ends[1] is None:
        return sources.weighted(form, whole)
    chosen = Interval.exact(ends[0]) if factor.is_exact else Interval(ends[0], ends[1])
    center, radius = chosen.midpoint_radius()
    norm, deviation = float(center.abs().max()), float(radius.max())
    waves = sum(isinstance(atom, Wave) for atom in form.atoms)
    roundings = 0 if bool((center.abs() == 1).all()) else 4

    def change(entries: Entries) -> Entries:
        index = tuple(entries.places[:, column] for column in range(waves))
        factors = center[index] if waves else center[None]
        error = entries.error_after(norm, deviation, roundings)
        return replace(entries, values=entries.values * factors.unsqueeze(-1), error=error)

    return form.mapped(change)


#: By overload.
RULES: Rules = MappingProxyType(
    {
        "aten.add.Scalar": add,
        "aten.add.Tensor": add,
        "aten.div.Scalar": divide,
        "aten.div.Tensor": divide,
        "aten.mul.Scalar": multiply,
        "aten.mul.Tensor": multiply,
        "aten.neg.default": negative,
        "aten.sub.Scalar": subtract,
        "aten.sub.Tensor": subtract,
    }
)


def _exact(number: float) -> Interval:
    return Interval.exact(float(number))


def _without_grids(values: Tensor, form: Form) -> Tensor | None:
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

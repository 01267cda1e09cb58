"""Products of forms with constant matrices along waves: back to a grid, or to other waves.

From waves to a grid a matrix gives waves of frequencies of its own, which have to be those that the
waves came from: what is left of others is counted among the errors.
"""

import math
from dataclasses import replace

import torch
from torch import Tensor

from certisolve_server.certifier.arithmetic import Interval
from certisolve_server.certifier.errors import NotCertified

from .axes import joint_index, position, with_waves
from .basis import Waves, frobenius, waves_of
from .form import ANY, MOST_NUMBERS, Atom, Entries, Form, Grid, Wave, merged, more
from .network import Sources

# Of shares of a field, what may be left at other frequencies.
_LEFT = 2.0**-16


def from_waves(form: Form, axis: int, matrix: Interval, grids: Sources) -> Form:
    """From waves to a grid that the tensor has none of, or to other waves."""
    rows, columns = matrix.shape
    for size, grid_axis in _candidates(form, rows):
        grid = Grid(grid_axis, size)

        def laid_out(ends: Tensor, points: int = size) -> Tensor:
            return ends.reshape(-1, points, columns).movedim(1, 2).reshape(-1, points)

        found = waves_of(matrix.rearranged(laid_out), grids.periods(grid), may_have_window=False)
        if found is not None:
            grids.note(grid, found.period)
            return _onto_grid(form, axis, found, grid, rows // size)
    return _among_waves(form, axis, matrix)


def _candidates(form: Form, rows: int) -> list[tuple[int, int]]:
    """Sizes of grids, and the axes that they are of, that rows may be the points of."""
    present = {atom.axis for atom in form.atoms if isinstance(atom, Grid)}
    dims = next(iter(form.terms.values())).frequencies.shape[1]
    missing = [axis for axis in range(dims) if axis not in present]
    sizes = [rows, *([rows // 2] if rows % 2 == 0 else [])]
    return [(size, axis) for size in sizes for axis in missing]


def _onto_grid(form: Form, axis: int, found: Waves, grid: Grid, beside: int) -> Form:
    """Sum over the waves, each at its frequencies; they have to be those of the entries."""
    columns = form.shape[axis]
    wave = position(form, axis, 0, Wave)
    others = [atom.size for atom in form.axes[axis]]
    # Rows of `found` are (beside, column); a share of -k there is that of e^{+ i k x} here.
    upper, column = found.rows // columns, found.rows % columns
    k = torch.where(2 * found.frequencies == found.period, found.frequencies, -found.frequencies)
    shares, norm = found.shares, found.norm / found.period * (1 + 2.0**-50)
    deviation = found.deviation / math.sqrt(found.period) * (1 + 2.0**-50)

    def change(entries: Entries) -> Entries:
        index = joint_index(entries.places, wave, others)
        at, share = (index[:, None] == column).nonzero(as_tuple=True)
        factors = shares[share].reshape(-1, *[1] * (entries.values.ndim - 1))
        columns_beside = (upper[share],) if beside > 1 else ()
        places = with_waves(entries.places[at], wave, len(others), *columns_beside)
        frequencies = torch.cat([entries.frequencies[at], k[share][:, None]], 1)
        values, scale = entries.values[at] * factors, entries.scale * found.unit / found.period
        error = entries.error_after(norm, deviation, 16)
        summed = merged(Entries(places, frequencies, values, error, scale))
        return _of_own_frequencies(summed, grid.axis)

    atoms: tuple[Atom, ...] = (grid,) if beside == 1 else (Wave(beside), grid)
    return form.mapped(change, (*form.axes[:axis], atoms, *form.axes[axis + 1 :]))


def _of_own_frequencies(entries: Entries, axis: int) -> Entries:
    """Without the last column of frequencies, which has to agree with that of the axis."""
    out, own = entries.frequencies[:, -1], entries.frequencies[:, axis]
    agrees = (out == own) if bool((own != ANY).all()) else torch.zeros_like(out, dtype=torch.bool)
    rest = replace(
        entries,
        places=entries.places[~agrees],
        frequencies=entries.frequencies[~agrees],
        values=entries.values[~agrees],
    )
    kept = replace(
        entries,
        places=entries.places[agrees],
        frequencies=entries.frequencies[agrees][:, :-1],
        values=entries.values[agrees],
        error=more(entries.error, 1.0, rest.size),
    )
    # False of NaN.
    if not rest.size <= _LEFT * kept.size:
        raise NotCertified("a layer is not the same at all points of its grid")
    return kept


def _among_waves(form: Form, axis: int, matrix: Interval) -> Form:
    """Any matrix from waves to waves."""
    center, radius = matrix.midpoint_radius()
    wave = position(form, axis, 0, Wave)
    others = [atom.size for atom in form.axes[axis]]
    rows, columns = center.nonzero(as_tuple=True)
    norm, deviation = frobenius(Interval.exact(center)), frobenius(Interval.exact(radius))

    def change(entries: Entries) -> Entries:
        index = joint_index(entries.places, wave, others)
        at, chosen = (index[:, None] == columns).nonzero(as_tuple=True)
        if at.shape[0] * entries.values[0:1].numel() > MOST_NUMBERS:
            raise NotCertified("a matrix mixes too many waves")
        factors = center[rows[chosen], columns[chosen]]
        factors = factors.reshape(-1, *[1] * (entries.values.ndim - 1))
        places = with_waves(entries.places[at], wave, len(others), rows[chosen])
        error = entries.error_after(norm, deviation, 16)
        frequencies = entries.frequencies[at]
        values = entries.values[at] * factors
        return merged(Entries(places, frequencies, values, error, entries.scale))

    return form.mapped(
        change, (*form.axes[:axis], (Wave(center.shape[0]),), *form.axes[axis + 1 :])
    )

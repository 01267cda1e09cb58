"""Products of forms with constant matrices: over channels, over waves, and to and from a grid.

Along a grid a matrix is read by `basis`. Applied to e^{2 pi i k x} it gives its shares of k; and
from waves to a grid it gives waves of frequencies of its own, which have to be those that the waves
came from: what is left of others is counted among the errors.
"""

import math
from dataclasses import replace

import torch
from torch import Tensor

from certisolve_server.certifier.arithmetic import Interval, gamma
from certisolve_server.certifier.errors import NotCertified

from .basis import Waves, frobenius, waves_of
from .form import ANY, Atom, Dense, Entries, Form, Grid, Wave, merged, more, position, spread
from .network import Sources

# Of shares of a field, what may be left at other frequencies.
_LEFT = 2.0**-16


def product(form: Form, axis: int, matrix: Interval, grids: Sources) -> Form:
    """The matrix, (rows, columns), applied along an axis."""
    atoms = form.axes[axis]
    if all(isinstance(atom, Dense) for atom in atoms):
        return over_channels(form, axis, matrix)
    for place, atom in enumerate(atoms):
        if isinstance(atom, Dense):
            form = spread(form, axis, place)
    if any(isinstance(atom, Grid) for atom in form.axes[axis]):
        return _to_waves(form, axis, matrix, grids)
    return _from_waves(form, axis, matrix, grids)


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
        error = more(norm * entries.error * (1 + 2.0**-50), deviation, entries.norm)
        error = more(error, gamma(4 * center.shape[1] + 8) * norm, entries.size)
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
    norm = max(float(block.norm()) for block in center) * (1 + 2.0**-40)
    deviation = max(float(block.norm()) for block in radius) * (1 + 2.0**-40)

    def change(entries: Entries) -> Entries:
        index = torch.zeros(entries.places.shape[0], dtype=torch.int64)
        for column, size in enumerate(sizes):
            index = index * size + entries.places[:, column]
        values = entries.values.movedim(1 + channel, -1)
        shape = values.shape
        flat = values.reshape(shape[0], math.prod(shape[1:-1]), shape[-1])
        result = torch.bmm(flat, center[index].to(flat.dtype))
        result = result.reshape(*shape[:-1], center.shape[2]).movedim(-1, 1 + channel)
        error = more(norm * entries.error * (1 + 2.0**-50), deviation, entries.norm)
        error = more(error, gamma(4 * shape[-1] + 8) * norm, entries.size)
        return replace(entries, values=result, error=error)

    return form.mapped(change, (*form.axes[:2], (Dense(center.shape[2]),)))


def _to_waves(form: Form, axis: int, matrix: Interval, grids: Sources) -> Form:
    """From a grid, and waves beside it on one axis, to waves."""
    place, grid = _only_grid(form.axes[axis])
    wave = position(form, axis, 0, Wave)
    others = [atom.size for atom in form.axes[axis] if isinstance(atom, Wave)]
    rows = matrix.shape[0]
    sizes = [atom.size for atom in form.axes[axis]]

    def laid_out(ends: Tensor) -> Tensor:
        apart = ends.reshape(rows, *sizes).movedim(1 + place, -1)
        return apart.reshape(-1, grid.size)

    found = waves_of(matrix.rearranged(laid_out), grids.periods(grid), grids.is_open(grid))
    if found is None:
        raise NotCertified(f"a matrix of {rows} rows along a grid is no transform of few waves")
    form = grids.windowed(form, grid, found)
    table = _Table(found, math.prod(others))
    scale = math.sqrt(found.period) * (1 + 2.0**-50)

    def change(entries: Entries) -> Entries:
        return table.applied(entries, wave, others, grid.axis, found.deviation * scale)

    axes = (*form.axes[:axis], (Wave(rows),), *form.axes[axis + 1 :])
    return form.mapped(change, axes)


class _Table:
    """The shares of a matrix, sorted by the waves beside the grid and by frequency."""

    def __init__(self, waves: Waves, beside: int) -> None:
        self.rows, self.beside = waves.rows // beside, waves.rows % beside
        self.frequencies, self.shares = waves.frequencies, waves.shares
        self.unit, self.norm = waves.unit, waves.norm

    def applied(
        self, entries: Entries, wave: int, others: list[int], axis: int, deviation: float
    ) -> Entries:
        """Each entry times each share of its frequency."""
        index = torch.zeros(entries.places.shape[0], dtype=torch.int64)
        for column, size in enumerate(others):
            index = index * size + entries.places[:, wave + column]
        known = entries.frequencies[:, axis]
        meets = (index[:, None] == self.beside) & (
            (known[:, None] == ANY) | (known[:, None] == self.frequencies)
        )
        at, share = meets.nonzero(as_tuple=True)
        factors = self.shares[share].reshape(-1, *[1] * (entries.values.ndim - 1))
        places = entries.places[at]
        places = torch.cat(
            [places[:, :wave], self.rows[share][:, None], places[:, wave + len(others) :]], 1
        )
        frequencies = entries.frequencies[at].clone()
        frequencies[:, axis] = self.frequencies[share]
        error = more(self.norm * entries.error * (1 + 2.0**-50), deviation, entries.norm)
        error = more(error, gamma(16) * self.norm, entries.size)
        return merged(
            Entries(
                places,
                frequencies,
                entries.values[at] * factors,
                error,
                entries.scale * self.unit,
            )
        )


def _from_waves(form: Form, axis: int, matrix: Interval, grids: Sources) -> Form:
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
        index = torch.zeros(entries.places.shape[0], dtype=torch.int64)
        for offset, size in enumerate(others):
            index = index * size + entries.places[:, wave + offset]
        at, share = (index[:, None] == column).nonzero(as_tuple=True)
        factors = shares[share].reshape(-1, *[1] * (entries.values.ndim - 1))
        places = entries.places[at]
        middle = upper[share][:, None] if beside > 1 else places[:, :0]
        places = torch.cat([places[:, :wave], middle, places[:, wave + len(others) :]], 1)
        frequencies = torch.cat([entries.frequencies[at], k[share][:, None]], 1)
        error = more(norm * entries.error * (1 + 2.0**-50), deviation, entries.norm)
        error = more(error, gamma(16) * norm, entries.size)
        summed = merged(
            Entries(
                places,
                frequencies,
                entries.values[at] * factors,
                error,
                entries.scale * found.unit / found.period,
            )
        )
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
    if not rest.size <= _LEFT * max(kept.size, 2.0**-1000):
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
        index = torch.zeros(entries.places.shape[0], dtype=torch.int64)
        for offset, size in enumerate(others):
            index = index * size + entries.places[:, wave + offset]
        at, chosen = (index[:, None] == columns).nonzero(as_tuple=True)
        if at.shape[0] * entries.values[0:1].numel() > 1 << 26:
            raise NotCertified("a matrix mixes too many waves")
        factors = center[rows[chosen], columns[chosen]]
        factors = factors.reshape(-1, *[1] * (entries.values.ndim - 1))
        places = entries.places[at]
        places = torch.cat(
            [places[:, :wave], rows[chosen][:, None], places[:, wave + len(others) :]], 1
        )
        error = more(norm * entries.error * (1 + 2.0**-50), deviation, entries.norm)
        error = more(error, gamma(16) * norm, entries.size)
        frequencies = entries.frequencies[at]
        values = entries.values[at] * factors
        return merged(Entries(places, frequencies, values, error, entries.scale))

    return form.mapped(
        change, (*form.axes[:axis], (Wave(center.shape[0]),), *form.axes[axis + 1 :])
    )


def _only_grid(atoms: tuple[Atom, ...]) -> tuple[int, Grid]:
    found = [(place, atom) for place, atom in enumerate(atoms) if isinstance(atom, Grid)]
    if len(found) != 1:
        raise NotCertified("a matrix goes over several axes of a grid at once")
    return found[0]

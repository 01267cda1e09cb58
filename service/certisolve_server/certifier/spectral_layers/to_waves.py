"""Products of forms with constant matrices along a grid, whose rows are made of few waves.

A matrix is read by `basis`. Applied to e^{2 pi i k x} it gives its shares of k.
"""

import math

from torch import Tensor

from certisolve_server.certifier.arithmetic import Interval
from certisolve_server.certifier.errors import NotCertified

from .axes import joint_index, position, with_waves
from .basis import Waves, waves_of
from .form import ANY, Atom, Entries, Form, Grid, Wave, merged
from .network import Sources


def to_waves(form: Form, axis: int, matrix: Interval, grids: Sources) -> Form:
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
        index = joint_index(entries.places, wave, others)
        known = entries.frequencies[:, axis]
        meets = (index[:, None] == self.beside) & (
            (known[:, None] == ANY) | (known[:, None] == self.frequencies)
        )
        at, share = meets.nonzero(as_tuple=True)
        factors = self.shares[share].reshape(-1, *[1] * (entries.values.ndim - 1))
        places = with_waves(entries.places[at], wave, len(others), self.rows[share])
        frequencies = entries.frequencies[at].clone()
        frequencies[:, axis] = self.frequencies[share]
        values, scale = entries.values[at] * factors, entries.scale * self.unit
        error = entries.error_after(self.norm, deviation, 16)
        return merged(Entries(places, frequencies, values, error, scale))


def _only_grid(atoms: tuple[Atom, ...]) -> tuple[int, Grid]:
    found = [(place, atom) for place, atom in enumerate(atoms) if isinstance(atom, Grid)]
    if len(found) != 1:
        raise NotCertified("a matrix goes over several axes of a grid at once")
    return found[0]

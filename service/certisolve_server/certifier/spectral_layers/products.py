"""The product of a form with a constant matrix along an axis, by what the axis is made of."""

from certisolve_server.certifier.arithmetic import Interval

from .axes import spread
from .channels import over_channels
from .form import Dense, Form, Grid
from .from_waves import from_waves
from .network import Sources
from .to_waves import to_waves


def product(form: Form, axis: int, matrix: Interval, grids: Sources) -> Form:
    """The matrix, (rows, columns), applied along an axis."""
    atoms = form.axes[axis]
    if all(isinstance(atom, Dense) for atom in atoms):
        return over_channels(form, axis, matrix)
    for place, atom in enumerate(atoms):
        if isinstance(atom, Dense):
            form = spread(form, axis, place)
    if any(isinstance(atom, Grid) for atom in form.axes[axis]):
        return to_waves(form, axis, matrix, grids)
    return from_waves(form, axis, matrix, grids)

"""How the tensors of a graph lie in fields: points of the grid first, channels last."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from certisolve_server.certifier.arithmetic import Interval
from certisolve_server.certifier.spectral_layers.form import Atom, Grid


@dataclass(frozen=True)
class Layout:
    """Of tensors whose axes are made of these atoms."""

    atoms: tuple[Atom, ...]

    def to_fields(self, tensor: Tensor) -> Tensor:
        """(batch, *shape) to (batch, *grid, channels)."""
        batch, order = tensor.shape[0], self._order
        laid_out = tensor.reshape(batch, *self._sizes).permute(0, *(1 + place for place in order))
        points = [self._sizes[place] for place in self._grids]
        return laid_out.reshape(batch, *points, -1)

    def from_fields(self, fields: Tensor) -> Tensor:
        """(batch, *grid, channels) to (batch, entries)."""
        batch, order = fields.shape[0], self._order
        sizes = [self._sizes[place] for place in order]
        back = [1 + order.index(place) for place in range(len(order))]
        return fields.reshape(batch, *sizes).permute(0, *back).reshape(batch, -1)

    def enclosed(self, tensor: Interval) -> Interval:
        """As `to_fields`, without the batch of one."""
        return tensor.rearranged(lambda ends: self.to_fields(ends.reshape(1, *self._sizes))[0])

    @property
    def _sizes(self) -> list[int]:
        return [atom.size for atom in self.atoms]

    @property
    def _grids(self) -> Sequence[int]:
        """Places of the axes of the grid, in their order."""
        found = {
            atom.axis: place for place, atom in enumerate(self.atoms) if isinstance(atom, Grid)
        }
        return [found[axis] for axis in sorted(found)]

    @property
    def _order(self) -> list[int]:
        channels = [place for place in range(len(self.atoms)) if place not in self._grids]
        return [*self._grids, *channels]

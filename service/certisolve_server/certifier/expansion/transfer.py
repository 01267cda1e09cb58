"""What a field takes of another one, applied to many fields at once, and how far off that is."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from certisolve_server.certifier.arithmetic import gamma
from certisolve_server.certifier.arithmetic.bilinear import UNIT_ROUNDOFF
from certisolve_server.certifier.operators.fourier import phases
from certisolve_server.certifier.spectral_layers.form import ANY, Entries

from .sizes import frobenius

#: Of absolute products, per stage of complex arithmetic, as sums of real ones.
_PER_STAGE = 2.0


@dataclass(frozen=True, eq=False)
class Transfer:
    """T[x, d] = Re sum_k sum_c G_k[d, c] h^_c(k) e^{2 pi i k x} of real fields h[x, c].

    Stage by stage, from axis to axis: to waves by a matrix, channels by G, and back. With E the
    matrices of all stages and eps what rounding changes of each, relative to sizes, what is
    computed is off by at most prod (1 + eps) - 1 of prod |E|_F |h|_F in the Frobenius norm (Higham,
    Accuracy and Stability, section 3.5, each stage by itself; a complex product is one of real
    matrices of twice the size, whose entries' sizes sum to at most root 2 as much). Constants that
    are not quite the basis are off by `Entries.error`.

    Args:
        entries: of fields.
        grid: points per axis.
        periods: of which the grid is a part, per axis.
    """

    entries: Entries
    grid: tuple[int, ...]
    periods: tuple[int, ...]

    def __call__(self, fields: Tensor) -> Tensor:
        """(batch, *grid, channels of the source) to (batch, *grid, channels)."""
        result = fields.new_zeros((*fields.shape[:-1], self.entries.values.shape[1]))
        for part in self._parts:
            result += part(fields)
        return result

    @cached_property
    def adjoint(self) -> "Transfer":
        """The transpose, in sums over points and channels."""
        entries = self.entries
        opposite = torch.where(entries.frequencies == ANY, ANY, -entries.frequencies)
        turned = Entries(entries.places, opposite, entries.values.mT, entries.error)
        return Transfer(turned, self.grid, self.periods)

    @cached_property
    def error(self) -> float:
        """At least |computed - exact|_F / |h|_F, exact of any real operator within the entries."""
        total = self.entries.error
        for part in self._parts:
            total += part.rounding + part.size * 4.0 * len(self._parts) * UNIT_ROUNDOFF
        return total * (1.0 + 2.0**-40)

    def rounded(self, fields: Tensor) -> float:
        """At least |computed - exact|_F of fields that are themselves rounded products."""
        return (self.error + 2.0**-50 * self.entries.size) * frobenius(fields)

    @cached_property
    def _parts(self) -> "tuple[_Part, ...]":
        """One for each set of axes that are transformed."""
        plain = self.entries.frequencies == ANY
        patterns = torch.unique(plain, dim=0) if len(plain) else plain
        return tuple(
            _Part(
                self.entries.frequencies[(plain == pattern).all(1)],
                self.entries.values[(plain == pattern).all(1)],
                self.grid,
                self.periods,
                [axis for axis, is_plain in enumerate(pattern.tolist()) if not is_plain],
            )
            for pattern in patterns
        )


class _Part:
    """Entries that transform along the same axes."""

    def __init__(
        self,
        frequencies: Tensor,
        values: Tensor,
        grid: tuple[int, ...],
        periods: tuple[int, ...],
        axes: Sequence[int],
    ) -> None:
        self._axes, self._values = axes, values
        self._there, self._back, self._counts = [], [], []
        self._place = torch.zeros(len(values), dtype=torch.int64)
        self._deviation, self._basis_size = 0.0, 1.0
        for axis in axes:
            used, place = torch.unique(frequencies[:, axis], return_inverse=True)
            waves, deviation = _waves(used, grid[axis], periods[axis])
            self._there.append(waves.conj() / periods[axis])
            self._back.append(waves.mT)
            self._counts.append(len(used))
            self._place = self._place * len(used) + place
            self._deviation = max(self._deviation, deviation)
            # |E|_F of both directions: elements of size 1, and of 1 / period.
            self._basis_size *= waves.numel() / periods[axis]

    def __call__(self, fields: Tensor) -> Tensor:
        if not self._axes:
            return fields @ self._values[0].real.mT
        waves = fields.to(torch.complex128)
        for axis, matrix in zip(self._axes, self._there, strict=True):
            waves = _along(waves, matrix, 1 + axis)
        mixed = self._mixed(waves)
        for axis, matrix in zip(self._axes, self._back, strict=True):
            mixed = _along(mixed, matrix, 1 + axis)
        return mixed.real

    @cached_property
    def size(self) -> float:
        """At least the product of the Frobenius norms of all stages."""
        squares = (self._values.real.square() + self._values.imag.square()).sum()
        return math.sqrt(float(squares)) * self._basis_size * (1.0 + 2.0**-30)

    @cached_property
    def rounding(self) -> float:
        """At least |computed - exact|_F / |h|_F."""
        lengths = [size for there in self._there for size in there.shape]
        lengths.append(self._values.shape[2])
        of_basis = 2.0 * self._deviation + 4.0 * UNIT_ROUNDOFF
        relative = sum(gamma(2 * length + 4) + of_basis for length in lengths)
        return 2.0 * relative * _PER_STAGE ** len(lengths) * self.size

    def _mixed(self, waves: Tensor) -> Tensor:
        """Channels of each wave by its G; waves that have none become 0."""
        own, first = [1 + axis for axis in self._axes], list(range(len(self._axes)))
        moved = waves.movedim(own, first)
        flat = moved.reshape(math.prod(self._counts), -1, waves.shape[-1])
        result = flat.new_zeros(flat.shape[0], flat.shape[1], self._values.shape[1])
        result[self._place] = torch.bmm(flat[self._place], self._values.mT)
        whole = result.reshape(*moved.shape[:-1], self._values.shape[1])
        return whole.movedim(first, own)


def _waves(frequencies: Tensor, points: int, period: int) -> tuple[Tensor, float]:
    """e^{2 pi i k x / period}, (frequencies, points), and how far real parts may be off."""
    found = phases(frequencies[:, None], torch.arange(points)[:, None], (period,))
    (real, off), (imaginary, off_too) = (each.midpoint_radius() for each in found)
    return torch.complex(real, imaginary), max(float(off.max()), float(off_too.max()))


def _along(waves: Tensor, matrix: Tensor, axis: int) -> Tensor:
    """The matrix applied along an axis."""
    applied: Tensor = torch.tensordot(waves, matrix, ([axis], [1]))
    return applied.movedim(-1, axis)

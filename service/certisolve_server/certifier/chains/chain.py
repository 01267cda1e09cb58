"""What the methods of this package bound: affine maps with functions between them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from certisolve_server.certifier.arithmetic import Interval, Operand, as_interval
from certisolve_server.certifier.arithmetic.rounding import Numbers
from certisolve_server.certifier.errors import InvalidRequest, NotCertified

from .layers import Layer
from .layers import Slopes as Slopes


@dataclass(frozen=True, eq=False)
class Chain:
    """x = h_0, h_i = S_i h_{i-1} + G_i f_i(A_i h_{i-1} + b_i), y = A_L h_{L-1} + b_L; no b matters.

    Where S_i is left out it is 0, and where G_i is, the identity: a plain chain of maps and
    functions. Any graph of them is a chain whose h_i hold all that is still needed.

    A batch of maps is a block diagonal one, as convolutions are in the basis of Fourier; a function
    of one number mixes the blocks, but as each channel has one function, and one multiplier, at
    all points, its quadratic constraint, summed over the points, is block diagonal too.

    Args:
        maps: A_1 to A_L, exact or enclosed, (..., rows, columns), batches broadcast.
        slopes: of f_1 to f_{L-1}, or how they fold.
        copies: how many rows each neuron stands for, copy by copy: 2 where the rows are real parts
            and then imaginary ones.
        skips: S_1 to S_{L-1}, (..., size of h_i, size of h_{i-1}), None where it is 0; () for all.
        mixes: G_1 to G_{L-1}, (..., size of h_i, rows), None where it is the identity; () for all.
    """

    maps: tuple[Interval, ...]
    slopes: tuple[Layer, ...]
    copies: int = 1
    skips: tuple[Interval | None, ...] = ()
    mixes: tuple[Interval | None, ...] = ()

    def __post_init__(self) -> None:
        if len(self.maps) != len(self.slopes) + 1:
            raise InvalidRequest(f"{len(self.maps)} maps with {len(self.slopes)} layers between")
        for given in (self.skips, self.mixes):
            if given and len(given) != len(self.slopes):
                raise InvalidRequest(f"{len(given)} skips or mixes of {len(self.slopes)} layers")
        size = self.maps[0].shape[-1]
        for layer, slopes in enumerate(self.slopes):
            size = self._size_after(layer, slopes.neurons * self.copies, size)
        _require_shape(self.maps[-1], self.maps[-1].shape[-2], size)
        known = (*self.maps, *(a for a in (*self.skips, *self.mixes) if a is not None))
        if not all(bool(a.magnitude.isfinite().all()) for a in known):
            raise NotCertified("a map has elements without a bound")

    def _size_after(self, layer: int, rows: int, size: int) -> int:
        """Of h_i, from that of h_{i-1}."""
        _require_shape(self.maps[layer], rows, size)
        skip, mix = self.skip(layer), self.mix(layer)
        following = rows if mix is None else mix.shape[-2]
        if mix is not None:
            _require_shape(mix, following, rows)
        if skip is not None:
            _require_shape(skip, following, size)
        return following

    @classmethod
    def of(
        cls,
        maps: Sequence[Operand],
        slopes: Sequence[Layer],
        skips: Sequence[Operand | None] = (),
        mixes: Sequence[Operand | None] = (),
    ) -> "Chain":
        """From plain matrices or intervals of them."""
        return cls(
            tuple(as_interval(a) for a in maps),
            tuple(slopes),
            skips=tuple(None if a is None else as_interval(a) for a in skips),
            mixes=tuple(None if a is None else as_interval(a) for a in mixes),
        )

    def skip(self, layer: int) -> Interval | None:
        """S of the layer with this index, None where it is 0."""
        return self.skips[layer] if self.skips else None

    def mix(self, layer: int) -> Interval | None:
        """G of the layer with this index, None where it is the identity."""
        return self.mixes[layer] if self.mixes else None

    @cached_property
    def rows(self) -> tuple[Layer, ...]:
        """The slopes, or folds, of each row of A_1 to A_{L-1}."""
        return tuple(slopes.repeated(self.copies) for slopes in self.slopes)

    @cached_property
    def centers(self) -> tuple[Numbers, ...]:
        """The maps as floats near them: for a search, not for a proof."""
        return tuple(a.midpoint_radius()[0] for a in self.maps)


def _require_shape(a: Interval, rows: int, columns: int) -> None:
    if tuple(a.shape[-2:]) != (rows, columns):
        raise InvalidRequest(f"a map of shape {tuple(a.shape)} where ({rows}, {columns}) fits")

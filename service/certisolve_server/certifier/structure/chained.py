"""Layers as a chain of `chains`, whose states hold all that is still needed."""

from collections.abc import Collection, Sequence

from certisolve_server.certifier.arithmetic import Interval
from certisolve_server.certifier.chains import Chain
from certisolve_server.certifier.chains import Layer as Function
from certisolve_server.certifier.errors import NotCertified

from .blocks import identity, joined, zeros
from .layered import Layered, Maps


def chained(layered: Layered) -> Chain:
    """The chain h_i = S_i h_{i-1} + G_i f_i(A_i h_{i-1}) with the same bound.

    Its state after a function is all sources that anything later takes, one after another.

    Raises:
        NotCertified: the layers are not such a chain.
    """
    if not layered.output:
        raise NotCertified("the output does not depend on the inputs")
    blocks = _Blocks(layered)
    functions: list[Function] = []
    maps, skips, mixes = [], [], []
    state = [0]
    for number, layer in enumerate(layered.layers, start=1):
        if layer.function is None:
            continue
        functions.append(layer.function)
        maps.append(blocks.row(layer.maps, layer.neurons, state))
        following = blocks.needed_after(number)
        skips.append(blocks.skip(following, state, number))
        mixes.append(blocks.mix(following, state, number))
        state = following
    maps.append(blocks.row(layered.output, layered.outputs, state))
    return Chain(tuple(maps), tuple(functions), skips=tuple(skips), mixes=tuple(mixes))


class _Blocks:
    """Matrices between states, put together of the maps."""

    def __init__(self, layered: Layered) -> None:
        self._layers = layered.layers
        self._sizes = layered.sizes
        self._all_maps = layered.all_maps

    def needed_after(self, number: int) -> list[int]:
        """Sources that are known after a layer, and the places right behind it, in use later."""
        last = number
        while last < len(self._layers) and self._layers[last].function is None:
            last += 1
        used = {source for maps in self._all_maps[last:] for source in maps}
        return sorted(source for source in used if source <= last)

    def row(self, maps: Maps, rows: int, state: Sequence[int]) -> Interval:
        """One layer's maps from a state, zeros where it takes nothing."""
        _require_known(maps, state)
        return self._part(maps, rows, state)

    def skip(self, following: Sequence[int], state: Sequence[int], number: int) -> Interval | None:
        """What the next state takes of the last one; None where it is nothing."""
        parts = [
            self._part(self._expressed(j, state, number), self._sizes[j], state) for j in following
        ]
        matrix = joined(parts, 0)
        return matrix if bool(matrix.magnitude.any()) else None

    def mix(self, following: Sequence[int], state: Sequence[int], number: int) -> Interval | None:
        """What the next state takes of the layer; None where it is the layer itself."""
        if list(following) == [number]:
            return None
        parts = [
            self._part(self._expressed(j, state, number), self._sizes[j], [number])
            for j in following
        ]
        return joined(parts, 0)

    def _expressed(self, j: int, state: Sequence[int], number: int) -> Maps:
        """A source of the next state by those of the last one and the layer."""
        if j in state or j == number:
            return {j: identity(self._sizes[j])}
        maps = self._all_maps[j - 1]
        _require_known(maps, [*state, number])
        if self._layers[j - 1].function is not None:
            raise NotCertified("a layer is taken before it is computed")
        return maps

    def _part(self, maps: Maps, rows: int, sources: Sequence[int]) -> Interval:
        return joined([maps.get(j, zeros(rows, self._sizes[j])) for j in sources], 1)


def _require_known(maps: Maps, sources: Collection[int]) -> None:
    if not set(maps) <= set(sources):
        raise NotCertified("a layer takes what no state of a chain holds")

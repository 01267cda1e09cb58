"""Layers as a chain of `chains`, whose states hold all that is still needed."""

from collections.abc import Collection, Sequence

from certisolve_server.certifier.arithmetic import Interval
from certisolve_server.certifier.chains import Chain
from certisolve_server.certifier.chains import Layer as Function
from certisolve_server.certifier.errors import NotCertified

from .blocks import identity, joined, zeros
from .layered import Layered, Maps

#: What the output has taken so far, among the sources of a state.
_SUM = -1


def chained(layered: Layered) -> Chain:
    """The chain h_i = S_i h_{i-1} + G_i f_i(A_i h_{i-1}) with the same bound.

    Its state after a function is all sources that anything later takes, one after another; where
    the output takes many of them, as of a network that adds up the results of branches, what it has
    taken so far stands for those that nothing else takes.

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
    maps.append(blocks.last(state))
    return Chain(tuple(maps), tuple(functions), skips=tuple(skips), mixes=tuple(mixes))


class _Blocks:
    """Matrices between states, put together of the maps."""

    def __init__(self, layered: Layered) -> None:
        self._layers = layered.layers
        self._sizes = {**dict(enumerate(layered.sizes)), _SUM: layered.outputs}
        self._all_maps = layered.all_maps
        self._output = layered.output
        early = [layered.sizes[j] for j in layered.output if j < len(layered.layers)]
        places = [j for j in layered.output if j and layered.layers[j - 1].function is None]
        self._sums = layered.outputs < sum(early) and not places and len(layered.layers) > 0

    def needed_after(self, number: int) -> list[int]:
        """Sources that are known after a layer, and the places right behind it, in use later."""
        last = number
        while last < len(self._layers) and self._layers[last].function is None:
            last += 1
        later = self._all_maps[last:-1] if self._sums else self._all_maps[last:]
        used = {source for maps in later for source in maps}
        if self._sums and any(source <= number for source in self._output):
            used.add(_SUM)
        return sorted(source for source in used if source <= last)

    def last(self, state: Sequence[int]) -> Interval:
        """The output of the last state."""
        if self._sums and state != [0]:
            return self.row({_SUM: identity(self._sizes[_SUM])}, self._sizes[_SUM], state)
        return self.row(self._output, self._sizes[_SUM], state)

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
        if j == _SUM:
            return self._summed(state, number)
        if j in state or j == number:
            return {j: identity(self._sizes[j])}
        maps = self._all_maps[j - 1]
        _require_known(maps, [*state, number])
        if self._layers[j - 1].function is not None:
            raise NotCertified("a layer is taken before it is computed")
        return maps

    def _summed(self, state: Sequence[int], number: int) -> Maps:
        """What the output takes of a layer, and what it has taken so far."""
        taken = {j: a for j, a in self._output.items() if j == number}
        if _SUM in state:
            return {_SUM: identity(self._sizes[_SUM]), **taken}
        earlier = {j: a for j, a in self._output.items() if j < number}
        _require_known(earlier, state)
        return {**earlier, **taken}

    def _part(self, maps: Maps, rows: int, sources: Sequence[int]) -> Interval:
        return joined([maps.get(j, zeros(rows, self._sizes[j])) for j in sources], 1)


def _require_known(maps: Maps, sources: Collection[int]) -> None:
    if not set(maps) <= set(sources):
        raise NotCertified("a layer takes what no state of a chain holds")

"""What a graph is once its affine runs are fused: matrices and nonlinearities."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

from certisolve_server.certifier.arithmetic import Interval
from certisolve_server.certifier.chains import Folding, Slopes
from certisolve_server.certifier.norms import Norms

#: By source: 0 stands for all inputs together, k for what layer k gives.
Maps: TypeAlias = Mapping[int, Interval]


@dataclass(frozen=True, eq=False)
class Layer:
    """h = f(z) of z = sum_j A_j h_j + b.

    Args:
        maps: A_j, (neurons, entries of the source), of earlier sources alone.
        function: between which slopes f lies, or which groups it folds; None where h = z, as at a
            place of a residual network through which all that follows sees what came before.
    """

    maps: Maps
    function: Slopes | Folding | None

    @property
    def neurons(self) -> int:
        """How many entries h has."""
        return int(next(iter(self.maps.values())).shape[0])


@dataclass(frozen=True, eq=False)
class Layered:
    """A map on a set, by differences of values at any two points of the set.

    They are

        dz_k = sum_j A_kj dh_j,   dh_k = F_k(dz_k),   dy = sum_j A_j dh_j

    with matrices within the intervals `maps`, where F_k is a diagonal matrix within the slopes, or
    folds. That is all that a bound of its Lipschitz constant rests on.

    Args:
        inputs: entries of all varying inputs, flattened in the order of the graph: h_0.
        layers: number k is the source k, from 1 on.
        output: A_j, (entries of the output, entries of the source).
        outputs: entries of the output.
    """

    inputs: int
    layers: tuple[Layer, ...]
    output: Maps
    outputs: int

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """How many entries each source has."""
        return (self.inputs, *(layer.neurons for layer in self.layers))

    @cached_property
    def all_maps(self) -> tuple[Maps, ...]:
        """Of each layer, and of the output as the last."""
        return (*(layer.maps for layer in self.layers), self.output)

    def weighted(self, norms: Norms) -> "Layered":
        """The same of differences measured with the weights of the norms: D_out f D_in^-1."""
        layers = tuple(
            Layer(_by_inputs(layer.maps, norms.input_weights), layer.function)
            for layer in self.layers
        )
        output = _by_inputs(self.output, norms.input_weights)
        if norms.output_weights is not None:
            column = norms.output_weights.rearranged(lambda ends: ends.unsqueeze(-1))
            output = {source: a * column for source, a in output.items()}
        return Layered(self.inputs, layers, output, self.outputs)


def _by_inputs(maps: Maps, weights: Interval | None) -> Maps:
    if weights is None or 0 not in maps:
        return maps
    return {**maps, 0: maps[0] / weights}

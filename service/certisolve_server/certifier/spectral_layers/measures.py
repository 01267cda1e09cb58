"""Norms of problems as those of networks of fields: scales of channels, and one factor."""

import math
from dataclasses import dataclass, replace

import torch

from certisolve_server.certifier.arithmetic import Interval
from certisolve_server.certifier.arithmetic.rounding import Numbers
from certisolve_server.certifier.graph.node import Graph
from certisolve_server.certifier.norms import Norms

from .form import SMALLEST, Entries, Grid, more
from .network import Source, SpectralNetwork


@dataclass(frozen=True, eq=False)
class Measured:
    """|D_out f D_in^-1| <= factor |g| with g a network, without weights.

    Args:
        network: g, its channels scaled where their weights differ.
        factor: at least so large; without the root of a ratio of numbers of points.
    """

    network: SpectralNetwork
    factor: float


def measured(network: SpectralNetwork, graph: Graph, norms: Norms) -> Measured:
    """The network in the norms of a problem; of weights that vary on a grid the worst counts."""
    least, most = _of_inputs(network, graph, norms), _of_output(network, norms)
    smallest, largest = min(float(w.min()) for w in least), float(most.max())
    sources = list(network.sources)
    for number, source in enumerate(sources):
        terms = dict(source.terms)
        for j in range(network.inputs):
            if j in terms and bool((least[j] != smallest).any()):
                terms[j] = _scaled(terms[j], smallest / least[j], by_rows=False)
        if number == len(sources) - 1 and bool((most != largest).any()):
            terms = {j: _scaled(each, most / largest, by_rows=True) for j, each in terms.items()}
        sources[number] = replace(source, terms=terms)
    factor = largest / smallest * (1.0 + 2.0**-50)
    return Measured(replace(network, sources=tuple(sources)), factor)


def _of_inputs(network: SpectralNetwork, graph: Graph, norms: Norms) -> list[Numbers]:
    """The least weight of each channel of each input."""
    sources, weights = network.sources[: network.inputs], norms.input_weights
    if weights is None:
        return [torch.ones(each.channels, dtype=torch.float64) for each in sources]
    sizes = [math.prod(each.shape) for each in graph.inputs]
    ends = zip(*(torch.split(end, sizes) for end in (weights.lower, weights.upper)), strict=True)
    return [
        _by_channel(Interval(*own), each).lower.amin(1)
        for own, each in zip(ends, sources, strict=True)
    ]


def _of_output(network: SpectralNetwork, norms: Norms) -> Numbers:
    """The largest weight of each channel of the output."""
    source = network.sources[-1]
    if norms.output_weights is None:
        return torch.ones(source.channels, dtype=torch.float64)
    return _by_channel(norms.output_weights, source).upper.amax(1)


def _by_channel(weights: Interval, source: Source) -> Interval:
    """(channels, points)."""
    sizes = [atom.size for atom in source.atoms]
    grids = [place for place, atom in enumerate(source.atoms) if isinstance(atom, Grid)]
    channels = [place for place in range(len(sizes)) if place not in grids]

    def laid_out(ends: Numbers) -> Numbers:
        return ends.reshape(sizes).permute(*channels, *grids).reshape(source.channels, -1)

    return weights.rearranged(laid_out)


def _scaled(entries: Entries, factors: Numbers, by_rows: bool) -> Entries:
    """Rows, or columns, times factors of at most 1; rounding counted."""
    scale = factors.clamp(max=1.0)
    scale = scale[:, None] if by_rows else scale
    error = more(entries.error, 2.0**-51, entries.size) + SMALLEST
    return replace(entries, values=entries.values * scale, error=error)

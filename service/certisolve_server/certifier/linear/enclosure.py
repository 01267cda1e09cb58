"""Ranges of all values of a network and of its derivatives on parts of a region.

Layer by layer, each range is what intervals and a sweep have in common; that of a layer makes the
lines, and then the planes, that the sweeps of the next ones go through.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from certisolve_server.certifier.arithmetic import Interval, gamma, matmul
from certisolve_server.certifier.errors import NotCertified

from .cells import Cells, Clip, cells
from .inputs import MORE_TERMS, Inputs
from .network import Affine, Network
from .planes import Range, default_lines, default_planes, lines, planes
from .sweep import Known, Relaxation, upper_bounds

#: Of values, derivatives and weights; see `sweep`.
_LARGEST = 1e40

#: Coefficients of a sweep: of more, its rows are taken in turns.
_ELEMENTS_AT_A_TIME = 1 << 17


@dataclass(eq=False)
class Enclosure:
    """What is known on each part, (batch, ...); of parts that are empty anything is true.

    Args:
        known: sizes and errors that sweeps need.
        relaxation: lines and planes that fit the ranges.
        cells: of each layer, from 1 on.
        a: of each source; that of 0 is the gradient e Dy.
        is_empty: (batch,), proven.
    """

    known: Known
    relaxation: Relaxation = field(default_factory=lambda: Relaxation({}, {}))
    cells: dict[int, Cells] = field(default_factory=dict)
    a: dict[int, Range] = field(default_factory=dict)
    is_empty: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.bool))


def enclose(
    network: Network, inputs: Inputs, seeds: Tensor, clips: Mapping[int, Clip]
) -> Enclosure:
    """Ranges on a batch of parts.

    Args:
        network: of finite matrices.
        inputs: the region.
        seeds: e of each part, (batch, outputs).
        clips: by layer, which arguments make the part.

    Raises:
        NotCertified: a range is unbounded, or too large to compute with.
    """
    enclosure = Enclosure(Known(network, inputs))
    enclosure.is_empty = torch.zeros(seeds.shape[0], dtype=torch.bool)
    values = {0: _repeated(inputs.box, seeds.shape[0])}
    enclosure.known.h_sizes[0] = values[0].magnitude
    for number in range(1, network.depth + 1):
        values[number] = _enclose_layer(enclosure, number, values, clips[number])
    for source in range(network.depth, -1, -1):
        _enclose_adjoint(enclosure, source, seeds)
    return enclosure


def unclipped(network: Network, batch: int) -> dict[int, Clip]:
    """The whole region."""
    return {
        number: Clip(
            torch.full((batch, layer.neurons), -torch.inf, dtype=torch.float64),
            torch.full((batch, layer.neurons), torch.inf, dtype=torch.float64),
        )
        for number, layer in enumerate(network.layers, start=1)
    }


def _enclose_layer(
    enclosure: Enclosure, number: int, values: Mapping[int, Interval], clip: Clip
) -> Interval:
    """The values of a layer; all that later sweeps need of it is written down."""
    known = enclosure.known
    layer = known.network.layers[number - 1]
    by_intervals = _image(layer.argument, values)
    known.z_errors[number] = _errors(known, layer.argument)
    found = by_intervals
    # Of a box itself intervals are exact.
    if set(layer.argument.maps) != {0} or known.inputs.ball_center is not None:
        found = _met(enclosure, by_intervals, lambda both: _swept_z(enclosure, number, both))
    clipped = torch.maximum(found.lower, clip.lower), torch.minimum(found.upper, clip.upper)
    places = _ordered(enclosure, *clipped)
    enclosure.cells[number] = of = cells(layer.function, places, clip)
    enclosure.relaxation.lines[number] = lines(of, *default_lines(of))
    known.z_sizes[number] = _bounded(places.magnitude)
    known.h_sizes[number] = _bounded(of.values.magnitude)
    return of.values


def _enclose_adjoint(enclosure: Enclosure, source: int, seeds: Tensor) -> None:
    """The range of a_k, and from it the planes of layer k."""
    known, network = enclosure.known, enclosure.known.network
    direct = network.output.maps.get(source)
    entries = known.h_sizes[source].shape[1]
    at_seeds = Interval.exact(torch.zeros(len(seeds), entries, dtype=torch.float64))
    if direct is not None:
        at_seeds = matmul(seeds, direct.interval)
    known.seeds[source], radius = at_seeds.midpoint_radius()
    error = radius + gamma(MORE_TERMS + entries) * known.seeds[source].abs()
    found = at_seeds
    for number, matrix in network.consumers[source]:
        found = found + matmul(_times_slopes(enclosure, number), matrix.interval)
        relative = gamma(MORE_TERMS + matrix.center.shape[0] + matrix.center.shape[1])
        error = error + known.d_sizes[number] @ (relative * matrix.sizes + matrix.radius)
    known.a_errors[source] = _bounded(error)
    if network.consumers[source]:
        found = _met(enclosure, found, lambda both: _swept_a(enclosure, source, both))
    enclosure.a[source] = ends = Range(found.lower, found.upper)
    known.a_sizes[source] = _bounded(ends.magnitude)
    if source > 0:
        of = enclosure.cells[source]
        enclosure.relaxation.planes[source] = planes(of, ends, *default_planes(of, ends))
        known.d_sizes[source] = _bounded(_times_slopes(enclosure, source).magnitude)


def _times_slopes(enclosure: Enclosure, number: int) -> Interval:
    a = enclosure.a[number]
    return Interval(a.lower, a.upper) * enclosure.cells[number].slopes


def _image(affine: Affine, values: Mapping[int, Interval]) -> Interval:
    image = affine.offset
    for source, matrix in affine.maps.items():
        image = image + matmul(values[source], matrix.interval.rearranged(lambda ends: ends.mT))
    if image.ndim == 1:
        return _repeated(image, len(values[0].lower))
    return image


def _errors(known: Known, affine: Affine) -> Tensor:
    """What a unit of each coefficient of z may be off by, in terms of h."""
    center, radius = affine.offset.midpoint_radius()
    batch = known.h_sizes[0].shape[0]
    error = (radius + gamma(MORE_TERMS + affine.rows) * center.abs()).expand(batch, -1)
    for source, matrix in affine.maps.items():
        relative = gamma(MORE_TERMS + matrix.center.shape[0] + matrix.center.shape[1])
        error = error + known.h_sizes[source] @ (relative * matrix.sizes + matrix.radius).mT
    return _bounded(error)


def _swept_z(enclosure: Enclosure, number: int, coefficients: Tensor) -> Tensor:
    return upper_bounds(enclosure.known, enclosure.relaxation, z={number: coefficients})


def _swept_a(enclosure: Enclosure, source: int, coefficients: Tensor) -> Tensor:
    return upper_bounds(enclosure.known, enclosure.relaxation, a=(source, coefficients))


def _met(
    enclosure: Enclosure, by_intervals: Interval, bounds: Callable[[Tensor], Tensor]
) -> Interval:
    """What intervals, and bounds of each entry and of its opposite, have in common."""
    batch, entries = by_intervals.shape
    identity = torch.eye(entries, dtype=torch.float64)
    rows = max(1, _ELEMENTS_AT_A_TIME // (batch * enclosure.known.network.widest))
    parts = [part.expand(batch, -1, -1) for part in torch.split(identity, rows)]
    above = torch.cat([bounds(part) for part in parts], 1)
    below = -torch.cat([bounds(-part) for part in parts], 1)
    lower = torch.maximum(by_intervals.lower, below)
    return _ordered(enclosure, lower, torch.minimum(by_intervals.upper, above))


def _ordered(enclosure: Enclosure, lower: Tensor, upper: Tensor) -> Interval:
    """The range, or a point where there is none: then the part is empty."""
    crossed = lower > upper
    enclosure.is_empty = enclosure.is_empty | crossed.any(1)
    return Interval(torch.where(crossed, upper, lower), upper)


def _repeated(interval: Interval, batch: int) -> Interval:
    return interval.rearranged(lambda ends: ends.expand(batch, -1))


def _bounded(sizes: Tensor) -> Tensor:
    """Sizes that can be computed with."""
    # False of NaN.
    if not bool((sizes < _LARGEST).all()):
        raise NotCertified("values or derivatives are unbounded, or too large to compute with")
    return sizes

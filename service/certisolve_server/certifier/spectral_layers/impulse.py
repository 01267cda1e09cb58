"""Bounds in linf and l1: each layer is a convolution, and its norms are those of its kernel.

A translation invariant map is given by its response to an impulse, K[o, i, x] = sum_k G_k e^{...} /
points; its linf norm is the largest sum of |K| over i and x, and its l1 norm that over o and x. On
a part of a period fields are 0 on the rest, and what falls there is cut off, which adds nothing.
"""

import itertools
import math

import torch
from torch import Tensor

from certisolve_server.certifier.arithmetic import Interval, einsum
from certisolve_server.certifier.arithmetic.norms import Norm
from certisolve_server.certifier.arithmetic.sums import sum_of_sizes
from certisolve_server.certifier.errors import NotCertified
from certisolve_server.certifier.operators.fourier import phases

from .assemble import Assembled
from .form import ANY, Entries
from .network import Source, SpectralNetwork

_UP = 1.0 + 2.0**-48

# Of a kernel, more than which are not made.
_MOST_NUMBERS = 1 << 25


def impulse_bound(network: SpectralNetwork, assembled: Assembled, norm: Norm) -> float:
    """The product of norms along all paths, errors included.

    Raises:
        NotCertified: the kernels are too large, or the bound is not finite.
    """
    sizes = dict.fromkeys(range(network.inputs), 1.0)
    for number in sorted(assembled.errors):
        source = network.sources[number]
        total = 0.0
        for j, error in assembled.errors[number].items():
            entries = source.terms[j]
            own = _norm(network, source, network.sources[j], entries, norm)
            own += _error(network, source, network.sources[j], error, norm)
            total = (total + own * sizes[j]) * _UP
        sizes[number] = total * assembled.caps[number] * _UP
    found = sizes[max(assembled.errors)]
    # False of NaN.
    if not found < float("inf"):
        raise NotCertified(f"the norms of kernels in {norm} have no finite bound")
    return found


def _error(
    network: SpectralNetwork, source: Source, earlier: Source, error: float, norm: Norm
) -> float:
    """From root mean squares: |v|_inf <= |v|_2 <= root(size) |v|_inf, and likewise for l1."""
    points_out, points_in = network.points(source), network.points(earlier)
    spread = earlier if norm == "linf" else source
    size = spread.channels * math.prod(spread.grid)
    return error * math.sqrt(points_out / points_in * size) * _UP


def _norm(
    network: SpectralNetwork, source: Source, earlier: Source, entries: Entries, norm: Norm
) -> float:
    if source.grid != earlier.grid:
        raise NotCertified("in this norm fields have to be on one grid")
    periods = tuple(
        network.periods.get((axis, size), size) for axis, size in enumerate(source.grid)
    )
    total: Interval | None = None
    for group in _groups(entries):
        part = _kernel(group, periods)
        total = part if total is None else total + part
    if total is None:
        return 0.0
    return float(sum_of_sizes(total.magnitude, (1, 2) if norm == "linf" else (0, 2)).max())


def _groups(entries: Entries) -> list[Entries]:
    """By which axes are treated alike."""
    alike = (entries.frequencies == ANY).to(torch.int64)
    code = (alike * (2 ** torch.arange(alike.shape[1]))).sum(1)
    return [
        Entries(
            entries.places[code == c],
            entries.frequencies[code == c],
            entries.values[code == c],
            0.0,
        )
        for c in torch.unique(code).tolist()
    ]


def _kernel(entries: Entries, periods: tuple[int, ...]) -> Interval:
    """(out channels, in channels, points): an impulse along axes that are treated alike."""
    own = [
        axis for axis in range(len(periods)) if bool((entries.frequencies[:, axis] != ANY).any())
    ]
    if entries.values[0].numel() * math.prod(periods) > _MOST_NUMBERS:
        raise NotCertified("kernels of spectral layers are too large")
    sizes = tuple(periods[axis] for axis in own) or (1,)
    frequencies = entries.frequencies[:, own] if own else torch.zeros(1, 1, dtype=torch.int64)
    points = torch.tensor(list(itertools.product(*[range(size) for size in sizes])))
    cos, sin = phases(frequencies % torch.tensor(sizes), points, sizes)
    response = einsum("koi,kt->oit", entries.values.real.contiguous(), cos) - einsum(
        "koi,kt->oit", entries.values.imag.contiguous(), sin
    )
    response = response / float(math.prod(sizes))
    places = _places(periods, own)

    def laid_out(ends: Tensor) -> Tensor:
        whole = torch.zeros(*ends.shape[:2], math.prod(periods), dtype=torch.float64)
        whole[..., places] = ends
        return whole

    return response.rearranged(laid_out)


def _places(periods: tuple[int, ...], own: list[int]) -> Tensor:
    """Where the points of some axes are, the others at 0."""
    axes = [range(size) if axis in own else range(1) for axis, size in enumerate(periods)]
    index = []
    for point in itertools.product(*axes):
        place = 0
        for at, size in zip(point, periods, strict=True):
            place = place * size + at
        index.append(place)
    return torch.tensor(index)

"""Forward: how fields differ between two points of the set, around the slopes at its center.

Field i of a network is h_i = f_i(z_i), z_i = sum_j A_ij h_j. With slopes m_j, about those at the
center c, and

    F_i = sum_j A_ij diag(m_j) F_j,     z_i(x) - z_i(x') = (F_i + E_i) (x - x')

of any two points of the set, slopes D_j = m_j + S_j lead from each z_j to h_j (see `slopes`), so

    E_i = sum_j A_ij (D_j E_j + S_j F_j),
    |E_i|_2 <= e_i = sum_j |A_ij|_2 (max |D_j| e_j + |S_j F_j|_2).

Values at the center are not known exactly: let g_j be some fields near h_j(c), and z_i(c) from here
on what the layers before i make of these, so that |f_j(z_j(c)) - g_j|_2 <= o_j is of rounding in
one layer. With d = x - c, z_i(x) = z_i(c) + F_i d + r_i, and likewise

    |r_i|_2 <= sum_j |A_ij|_2 (max |D_j| |r_j|_2 + |S_j (F_j d)|_2 + o_j).

It is also at most e_i |d|_2 + q_i, where q_i = sum_j |A_ij|_2 (max |D_j| q_j + o_j) is how far
z_i(c) is from what it is without starting afresh. What rounding adds to F_i is a part of e_i and
r_i. A product a b has two such fields, as a b - a' b' = a (b - b') + b' (a - a'): the slopes of
each factor are values of the other one.
"""

import math
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from certisolve_server.certifier.arithmetic import Interval, spectral_norm
from certisolve_server.certifier.errors import NotCertified
from certisolve_server.certifier.spectral_layers import SpectralNetwork
from certisolve_server.certifier.spectral_layers.assemble import Assembled
from certisolve_server.certifier.spectral_layers.network import Bend, Source

from .center import Center
from .layout import Layout
from .reach import Reach
from .sizes import MORE, SMALLEST, frobenius, require_tame, spectral
from .slopes import Around, Slopes, constant_slopes, slopes_around
from .transfer import Transfer

#: Of the Jacobian of one field: memory, and some seconds.
_MOST_NUMBERS = 1 << 24


@dataclass(frozen=True, eq=False)
class Field:
    """What is known of a source.

    Args:
        jacobian: F, (inputs, *grid, channels).
        error: e.
        slopes: None where f is the identity.
        bent: at least |S F|_2.
        bent_values: at least |S (F d)|_2 + o.
        rest: at least |r|_2.
        afresh: o.
        shift: at least q.
    """

    jacobian: Tensor
    error: float = 0.0
    slopes: Slopes | None = None
    bent: float = 0.0
    bent_values: float = 0.0
    rest: float = 0.0
    afresh: float = 0.0
    shift: float = 0.0

    @property
    def passed(self) -> Tensor:
        """diag(m) F."""
        return self.jacobian if self.slopes is None else self.slopes.center * self.jacobian

    @property
    def most(self) -> Tensor:
        """At least max |D| of each channel."""
        ones = torch.ones(self.jacobian.shape[-1], dtype=torch.float64)
        return ones if self.slopes is None else self.slopes.most

    @cached_property
    def size(self) -> float:
        """At least |F + E|_2."""
        return (spectral(self.jacobian) + self.error) * MORE


@dataclass(frozen=True, eq=False)
class Expanded:
    """All fields but the last one.

    Args:
        network: whose sources they are.
        fields: by number.
        transfers: of each source but inputs, by the number of the source that it takes.
    """

    network: SpectralNetwork
    fields: Mapping[int, Field]
    transfers: Mapping[int, Mapping[int, Transfer]]


def expanding(
    assembled: Assembled,
    network: SpectralNetwork,
    reach: Reach,
    center: Center,
    on_set: Mapping[str, Interval],
) -> Generator[None, None, Expanded]:
    """Field by field.

    Args:
        assembled: the blocks of the network, for their norms.
        network: recognised on the set.
        reach: of the set.
        center: values at the center.
        on_set: values of all nodes on the set, (1, *shape), perhaps far too wide.

    Raises:
        NotCertified: it is too large, or slopes are not known entry by entry.
    """
    forward = _Forward(assembled, network, reach, center, on_set)
    for number in range(len(network.sources) - 1):
        if number < network.inputs or number in assembled.maps:
            yield from forward.advance(number)
    return Expanded(network, forward.fields, forward.transfers)


class _Forward:
    def __init__(
        self,
        assembled: Assembled,
        network: SpectralNetwork,
        reach: Reach,
        center: Center,
        on_set: Mapping[str, Interval],
    ) -> None:
        self._assembled, self._network, self._reach = assembled, network, reach
        self._at_center, self._on_set, self._off = center.values, on_set, dict(center.off)
        self._inputs = len(reach.sides)
        _require_one_grid(network, self._inputs)
        self.transfers = {
            number: {j: _transfer(network, source, j) for j in source.terms}
            for number, source in enumerate(network.sources)
            if number in assembled.maps
        }
        self.fields: dict[int, Field] = {}
        self._sums: dict[int, Field] = {}

    def advance(self, number: int) -> Iterator[None]:
        """The field of the next source."""
        source = self._network.sources[number]
        if number < self._network.inputs:
            self.fields[number] = Field(self._identity(number))
            return
        yield from self._summing(number)
        if source.slopes is None:
            self.fields[number] = self._sums[number]
        else:
            yield from self._bending(number, source)

    def _identity(self, number: int) -> Tensor:
        """The columns of one input, (inputs, *grid, channels)."""
        sources = self._network.sources[: self._network.inputs]
        sizes = [source.channels * math.prod(source.grid) for source in sources]
        start = sum(sizes[:number])
        rows = torch.eye(self._inputs, dtype=torch.float64)[:, start : start + sizes[number]]
        return Layout(sources[number].atoms).to_fields(rows)

    def _summing(self, number: int) -> Iterator[None]:
        """Z of a source, which may be wanted before its turn."""
        if number in self._sums:
            return
        source = self._network.sources[number]
        jacobian = torch.zeros(self._inputs, *source.grid, source.channels, dtype=torch.float64)
        error = rest = shift = rounding = SMALLEST
        for j, transfer in self.transfers[number].items():
            field, norm = self.fields[j], self._norm(number, j)
            passed = field.passed
            part = transfer(passed)
            jacobian += part
            rounding += transfer.rounded(passed) + len(source.terms) * 2.0**-50 * frobenius(part)
            kept = self._norm(number, j, field.most)
            error += kept * field.error + norm * field.bent
            rest += kept * field.rest + norm * field.bent_values
            shift += kept * field.shift + norm * field.afresh
            yield
        require_tame(jacobian)
        error = (error + rounding) * MORE
        rest = (rest + rounding * self._reach.radius) * MORE
        rest = min(rest, (error * self._reach.radius + shift) * MORE)
        self._sums[number] = Field(jacobian, error, rest=rest, shift=shift * MORE)

    def _norm(self, number: int, j: int, scales: Tensor | None = None) -> float:
        """At least |A_ij diag(scales of channels)|_2."""
        blocks, found, largest = self._assembled.maps[number].get(j), 0.0, 1.0
        if scales is not None:
            largest = float(scales.amax())
        if blocks is not None:
            # Real parts and imaginary ones.
            scaled = blocks if scales is None else blocks * torch.cat([scales, scales])
            found = float(spectral_norm(scaled).max())
        return (found + self._assembled.errors[number][j] * largest) * MORE

    def _bending(self, number: int, source: Source) -> Iterator[None]:
        """With the slopes that make least of it."""
        layout, own, off = Layout(source.atoms), self._sums[number], 0.0
        if source.bend is None:
            raise NotCertified(f"slopes of {source.name} are not known entry by entry")
        if isinstance(source.bend, Interval):
            candidates = [constant_slopes(source.bend, layout)]
        else:
            if source.bend.of not in self.transfers:
                raise NotCertified(f"a factor of {source.bend.result} has no differences")
            yield from self._summing(source.bend.of)
            candidates = slopes_around(source.bend, self._around(source.bend), layout)
            # Once for all sources that make one result.
            off = self._off.pop(source.bend.result, 0.0)
        bent, chosen = math.inf, candidates[0]
        for each in candidates:
            yield
            if (found := each.bent(own.jacobian)) < bent:
                bent, chosen = found, each
        along = self._reach.along(own.jacobian)
        values = frobenius(chosen.spread * along) + chosen.loose * float(along.amax()) * MORE
        values = (values + off) * MORE
        self.fields[number] = replace(own, slopes=chosen, bent=bent, bent_values=values, afresh=off)

    def _around(self, bend: Bend) -> Around:
        """Values of its node on the set."""
        of = self._sums[bend.of]
        return Around(
            self._at_center[bend.node],
            self._reach.along(of.jacobian),
            of.rest,
            self._on_set[bend.node],
            Layout(self._network.sources[bend.of].atoms),
        )


def _transfer(network: SpectralNetwork, source: Source, j: int) -> Transfer:
    periods = tuple(
        network.periods.get((axis, size), size) for axis, size in enumerate(source.grid)
    )
    return Transfer(source.terms[j], source.grid, periods)


def _require_one_grid(network: SpectralNetwork, inputs: int) -> None:
    """Norms over one grid are sums and means alike."""
    grid = network.sources[0].grid
    if any(source.grid != grid for source in network.sources):
        raise NotCertified("an expansion takes fields on one grid")
    widest = max(source.channels for source in network.sources) * math.prod(grid)
    if inputs * widest > _MOST_NUMBERS:
        raise NotCertified(
            f"an expansion takes {inputs} derivatives of {widest} numbers, above {_MOST_NUMBERS}"
        )

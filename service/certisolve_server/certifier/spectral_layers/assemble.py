"""From a network of fields to a chain of maps and slopes, one block for each frequency.

Blocks of k and -k are conjugates, so one of both stands for both; one more stands for all
frequencies that no transform treats on its own. Real and imaginary parts are rows of their own.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from certisolve_server.certifier.arithmetic import Interval, gamma
from certisolve_server.certifier.chains import Chain, Slopes
from certisolve_server.certifier.errors import NotCertified

from .form import ANY, Entries, more
from .network import Source, SpectralNetwork
from .state import State

# Blocks, more than which are not made.
_MOST_BLOCKS = 1 << 13


@dataclass(frozen=True, eq=False)
class Assembled:
    """What is certified in the end.

    Args:
        chain: from all inputs to the output, of root mean squares over the grids.
        maps: of each needed source but inputs, by its number, the blocks by the number of another.
        errors: likewise, the norms of what is not in the blocks.
        caps: of each needed source, the largest size of its slopes.
    """

    chain: Chain
    maps: Mapping[int, Mapping[int, Interval]]
    errors: Mapping[int, Mapping[int, float]]
    caps: Mapping[int, float]


def assemble(network: SpectralNetwork) -> Assembled:
    """The chain of a network."""
    needed = _needed(network)
    terms = {number: network.sources[number].terms for number in needed if number >= network.inputs}
    blocks = _frequencies(terms)
    maps: dict[int, dict[int, Interval]] = {}
    errors: dict[int, dict[int, float]] = {}
    for number, of in terms.items():
        maps[number] = {j: _blocks(each, blocks) for j, each in of.items() if _acts(each)}
        errors[number] = {j: _error(each) for j, each in of.items()}
    slopes = {number: _slopes(network, network.sources[number]) for number in terms}
    caps = {
        number: 1.0 if each is None else float(each.cap.max()) for number, each in slopes.items()
    }
    chain = _Assembly(network, needed, maps, slopes).chain()
    return Assembled(chain, maps, errors, caps)


def _acts(entries: Entries) -> bool:
    return entries.values.shape[0] > 0


def _needed(network: SpectralNetwork) -> list[int]:
    """Numbers of sources that the output depends on, inputs included, and errors' ones."""
    last = len(network.sources) - 1
    found, queue = set(range(network.inputs)), [last]
    while queue:
        number = queue.pop()
        found.add(number)
        queue += [j for j in network.sources[number].terms if j not in found]
    return sorted(found)


def _reached(last: int, maps: Mapping[int, Mapping[int, Interval]]) -> list[int]:
    """Numbers of sources but inputs that the last one depends on through maps."""
    found, queue = {last}, [last]
    while queue:
        new = {j for j in maps[queue.pop()] if j in maps} - found
        found |= new
        queue += new
    return sorted(found)


def _slopes(network: SpectralNetwork, source: Source) -> Slopes | None:
    """Those of a field on a part of a period include 0, which cuts off the rest of the period."""
    if source.slopes is None:
        return None
    sizes = enumerate(source.grid)
    whole = all(network.periods.get((axis, size), size) == size for axis, size in sizes)
    if whole:
        return source.slopes
    return Slopes(source.slopes.least.clamp(max=0.0), source.slopes.most.clamp(min=0.0))


def _frequencies(terms: Mapping[int, Mapping[int, Entries]]) -> Tensor:
    """One of each k and -k that is treated on its own, and `ANY` for all others, (blocks, axes)."""
    rows = [each.frequencies for of in terms.values() for each in of.values() if _acts(each)]
    if not rows:
        raise NotCertified("all layers take nothing")
    unique = torch.unique(torch.cat(rows), dim=0)
    mixed = ((unique == ANY).any(1) & (unique != ANY).any(1)).any()
    if bool(mixed):
        axes = [torch.unique(torch.cat([column, torch.tensor([ANY])])) for column in unique.mT]
        if math.prod(axis.shape[0] for axis in axes) > _MOST_BLOCKS:
            raise NotCertified("there are too many frequencies")
        unique = torch.tensor(list(itertools.product(*[axis.tolist() for axis in axes])))
    keys = {tuple(row) for row in unique.tolist()} | {(ANY,) * unique.shape[1]}
    kept = [k for k in sorted(keys) if not (_opposite(k) in keys and _opposite(k) > k)]
    if len(kept) > _MOST_BLOCKS:
        raise NotCertified("there are too many frequencies")
    return torch.tensor(kept)


def _opposite(frequency: Sequence[int]) -> tuple[int, ...]:
    return tuple(k if k == ANY else -k for k in frequency)


def _blocks(entries: Entries, frequencies: Tensor) -> Interval:
    """[[Re, -Im], [Im, Re]] of each block, (blocks, 2 rows, 2 columns), rounded."""
    own, wanted = entries.frequencies[None], frequencies[:, None]
    meets = ((own == ANY) | (own == wanted)).all(-1)
    values = entries.values
    flat = torch.view_as_real(values.contiguous()).reshape(values.shape[0], -1)
    summed = (meets.to(torch.float64) @ flat).reshape(frequencies.shape[0], *values.shape[1:], 2)
    real, imaginary = summed[..., 0], summed[..., 1]
    above, below = torch.cat([real, -imaginary], -1), torch.cat([imaginary, real], -1)
    return Interval.exact(torch.cat([above, below], -2))


def _error(entries: Entries) -> float:
    """With the rounding of sums of entries that meet."""
    meeting = 2 ** entries.frequencies.shape[1]
    roundings = 0 if entries.values.shape[0] <= 1 else meeting + 2
    return more(entries.error, gamma(roundings), entries.size)


class _Assembly:
    """Goes through the fields; the state holds each that is still needed."""

    def __init__(
        self,
        network: SpectralNetwork,
        needed: Sequence[int],
        maps: Mapping[int, Mapping[int, Interval]],
        slopes: Mapping[int, Slopes | None],
    ) -> None:
        self._maps, self._slopes = maps, slopes
        self._order = _reached(max(needed), maps)
        self._last_use = {j: i for i in self._order for j in maps[i]}
        sizes = {j: 2 * network.sources[j].channels for j in range(network.inputs)}
        self._state = State.of_fields(sizes)
        self._skips: list[Interval | None] = []
        self._mixes: list[Interval | None] = []

    def chain(self) -> Chain:
        """After the last field."""
        maps: list[Interval] = []
        functions: list[Slopes] = []
        *inner, last = self._order
        for number in inner:
            slopes = self._slopes[number]
            if slopes is None:
                self._state = self._state.with_rows(number, self._maps[number])
            else:
                self._settle()
                maps.append(self._state.read(self._maps[number]))
                functions.append(slopes)
                self._state = self._state.with_function(number, 2 * slopes.neurons)
            self._state = self._state.without(
                {j for j in self._state.rows if self._last_use.get(j, -1) <= number}
            )
        self._settle()
        maps.append(self._state.read(self._maps[last]))
        if all(each is None for each in (*self._skips, *self._mixes)):
            return Chain(tuple(maps), tuple(functions), copies=2)
        skips, mixes = tuple(self._skips), tuple(self._mixes)
        return Chain(tuple(maps), tuple(functions), 2, skips, mixes)

    def _settle(self) -> None:
        """What followed the last function becomes the new state."""
        if self._state.values:
            skip, mix = self._state.step()
            self._skips.append(skip)
            self._mixes.append(mix)
            self._state = State.of_fields(self._state.sizes)

"""The slots of one lane, always dense after a layout, and those who wait for them."""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from .plan import Join, Move, SlotStatus, SteppingRequest


@dataclass(slots=True, eq=False)
class Slot:
    """A request that has a place on the device.

    Attributes:
        request: whose it is.
        status: how it fares; a slot whose request has ended is given up with the next layout.
    """

    request: SteppingRequest
    status: SlotStatus = SlotStatus.RUNNING

    @property
    def running(self) -> bool:
        """Whether its request has not ended."""
        return self.status is SlotStatus.RUNNING


class Layout(NamedTuple):
    """What changed: see Plan."""

    leaves: tuple[int, ...]
    moves: tuple[Move, ...]
    joins: tuple[Join, ...]


class Slots:
    """Who waits, in order of arrival, and who has which slot.

    Arguments:
        batch_sizes: the allowed ones, ascending; the largest is the number of slots.
    """

    def __init__(self, batch_sizes: Sequence[int]) -> None:
        ascending = list(batch_sizes) == sorted(set(batch_sizes))
        if not batch_sizes or not ascending or batch_sizes[0] < 1:
            raise ValueError(f"batch sizes must be positive and ascending, not {batch_sizes}")
        self._batch_sizes = tuple(batch_sizes)
        self.waiting: dict[str, tuple[int, SteppingRequest]] = {}
        self.taken: list[Slot] = []
        self._num_ended = 0
        self._ended_bytes = 0
        self._suspects: set[Slot] = set()

    @property
    def num_free(self) -> int:
        """How many more the next layout can take in."""
        return self._batch_sizes[-1] - len(self.taken) + self._num_ended

    @property
    def ended_bytes(self) -> int:
        """What the next layout gives back."""
        return self._ended_bytes

    @property
    def empty(self) -> bool:
        """Whether nobody waits and no slot is taken."""
        return not self.waiting and not self.taken

    @property
    def only_ended(self) -> bool:
        """Whether nobody waits or runs; the next layout needs no step."""
        return not self.waiting and len(self.taken) == self._num_ended

    def batch_size(self, count: int) -> int:
        """The smallest allowed one for so many slots; 0 for none."""
        return self._batch_sizes[bisect_left(self._batch_sizes, count)] if count else 0

    def end(self, slot: Slot, status: SlotStatus) -> None:
        """The request of a taken slot has ended."""
        slot.status = status
        self._num_ended += 1
        self._ended_bytes += slot.request.state_bytes
        self._suspects.discard(slot)

    def suspect(self, stepped: Iterable[Slot]) -> None:
        """A step of these together failed."""
        self._suspects.update(slot for slot in stepped if slot.running)

    def clear(self, stepped: Iterable[Slot]) -> None:
        """These made a step."""
        self._suspects.difference_update(stepped)

    def next_step(self) -> tuple[int, ...]:
        """After a layout: a suspect alone, or else all."""
        if self._suspects:
            alone = (index for index, slot in enumerate(self.taken) if slot in self._suspects)
            return (next(alone),)
        return tuple(range(len(self.taken)))

    def lay_out(self, joining: Sequence[SteppingRequest]) -> Layout:
        """Give up the slots of ended requests, fill them with new ones and then from the end."""
        if not self._num_ended and not joining:
            return Layout((), (), ())
        leaves = [index for index, slot in enumerate(self.taken) if not slot.running]
        size = len(self.taken) - len(leaves) + len(joining)
        gaps = leaves + list(range(len(self.taken), size))
        joins = tuple(Join(request.id, gap) for request, gap in zip(joining, gaps, strict=False))
        targets = [gap for gap in gaps[len(joining) :] if gap < size]
        sources = [index for index in range(size, len(self.taken)) if self.taken[index].running]
        moves = tuple(Move(*move) for move in zip(sources, targets, strict=True))
        kept = {index: slot for index, slot in enumerate(self.taken) if slot.running}
        for source, target in moves:
            kept[target] = kept.pop(source)
        for request, (_, target) in zip(joining, joins, strict=True):
            kept[target] = Slot(request)
        self.taken = [kept[index] for index in range(size)]
        self._num_ended = self._ended_bytes = 0
        return Layout(tuple(leaves), moves, joins)

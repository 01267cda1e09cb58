"""What a batcher of many-step requests decides, as plain values that an engine carries out."""

from collections.abc import Hashable
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple


class SlotStatus(Enum):
    """How the request of a slot fares; all but RUNNING are final."""

    RUNNING = "running"
    FINISHED = "finished"
    DIVERGED = "diverged"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class SteppingRequest:
    """What a batcher knows of a job of many steps.

    Attributes:
        id: unique among the requests it holds.
        lane: requests of equal lanes may share a step.
        state_bytes: what its state takes on the device while it has a slot.
        deadline: seconds, on the clock of every `now`; None for no deadline.
    """

    id: str
    lane: Hashable
    state_bytes: int
    deadline: float | None = None


class Join(NamedTuple):
    """A request that takes a slot."""

    request_id: str
    slot: int


class Move(NamedTuple):
    """A state that goes to another slot."""

    source: int
    target: int


class Ended(NamedTuple):
    """A request that is held no more, and why."""

    request: SteppingRequest
    status: SlotStatus


@dataclass(frozen=True, slots=True)
class Plan:
    """Lay the slots of a lane out anew, then step some of them.

    First `leaves`, then `moves`, then `joins`. No slot is both source and target of a move, and no
    target is joined, so the three together are one gather. Afterwards exactly the slots
    0 ... num_slots - 1 are taken; the states of a lane with no slots can be freed.

    Attributes:
        lane: whose slots these are.
        leaves: slots whose requests have ended, ascending.
        moves: states that close the gaps; no more than gaps that nobody joins.
        joins: new requests, in order of arrival.
        num_slots: that are taken after this layout.
        slots: those to step, ascending: all of them, or one that is tried alone. With none there
            is nothing to step.
        batch_size: the smallest allowed batch that holds `slots`; the rest of it is padding.
    """

    lane: Hashable
    leaves: tuple[int, ...]
    moves: tuple[Move, ...]
    joins: tuple[Join, ...]
    num_slots: int
    slots: tuple[int, ...]
    batch_size: int

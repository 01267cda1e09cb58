"""What a bank of slots tells of its steps."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from numpy.typing import NDArray

from certisolve_server.jobs import Ending, Frame

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Ended:
    """What a job came to.

    Attributes:
        outputs: per output of the manifest, an array of shape (frame, ...): the frames that were
            asked for, or those before an early end and the last good one. Empty with an `error`.
        finite: whether every element of every output is finite.
        findings: about the answer, by name.
        t: times of the frames, where these are not all that were asked for.
        ending: why it ended early; None for an answer that is whole.
        states: what a session goes on from; empty unless asked for, and after an early end.
        error: what the program raised on this job; None if it raised nothing.
    """

    outputs: tuple[Array, ...] = ()
    finite: bool = False
    findings: Mapping[str, float] = field(default_factory=dict)
    t: tuple[float, ...] | None = None
    ending: Ending | None = None
    states: tuple[Array, ...] = ()
    error: Exception | None = None


class Run(NamedTuple):
    """Some steps of some slots.

    Attributes:
        frames: that are told as they come, with their slots, in order.
        ended: slots whose jobs have ended.
        num_steps: that were made; 0 where a slot was at its end before.
        padded_size: rows in each of them.
        compute_ms: of all of them, and of looking at what they came to.
    """

    frames: list[tuple[int, Frame]]
    ended: list[tuple[int, Ended]]
    num_steps: int
    padded_size: int
    compute_ms: float

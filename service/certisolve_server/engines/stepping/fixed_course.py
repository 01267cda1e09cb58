"""Courses of families whose steps have one size: who is where is known before it is computed."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from certisolve_server.jobs import Ending, SolveJob

from .course import AbstractCourse
from .frames import Frames
from .values import Array, Ended


class FixedCourse(AbstractCourse):
    """Some passes to warm up, then one for each step.

    Arguments:
        job: with the numbers of the steps that are wanted.
        dt: time between two frames.
        warm_up: passes before that of the first step.
        findings: of an answer that took so many passes.
        moves: from the number of passes made to what the next one is to do.

    Attributes:
        passes: that were launched.
        last: outputs of the last pass, and which row of them; None before the first one. Set where
            rows rest, not by every pass.

    Raises:
        ValueError: no step is wanted.
    """

    def __init__(
        self,
        job: SolveJob,
        *,
        dt: float,
        warm_up: int,
        findings: Callable[[int], dict[str, float]],
        moves: Callable[[int], Any] = int,
    ) -> None:
        if not job.work.steps:
            raise ValueError("no steps are asked for")
        self.job = job
        self.frames = Frames(len(job.work.steps), told=job.work.stream)
        self.ended: Ended | None = None
        self.passes = 0
        self.last: tuple[Sequence[Tensor], int] | None = None
        self._dt = dt
        self._warm_up = warm_up
        self._findings = findings
        self._moves = moves
        self._wanted = [warm_up + step for step in job.work.steps]
        self._num_launched = 0
        self._worst: dict[str, float] = {}

    @property
    def move(self) -> Any:
        return self._moves(self.passes)

    @property
    def num_steps_ahead(self) -> float:
        return self._wanted[self._num_launched if self.job.work.stream else -1] - self.passes

    @property
    def progress(self) -> float:
        return self.passes / self._wanted[-1]

    @property
    def at_end(self) -> bool:
        """Whether the last pass was launched."""
        return self._num_launched == len(self._wanted)

    def launch(self) -> bool:
        """Count a pass; whether its frame is wanted."""
        self.passes += 1
        if self.passes != self._wanted[self._num_launched]:
            return False
        self._num_launched += 1
        return True

    def warms_up(self, passes: int) -> bool:
        """Whether the last of so many passes foretells nothing."""
        return passes <= self._warm_up

    def note(self, findings: Mapping[str, float]) -> None:
        """Of what is found about a frame that is good, the largest counts."""
        for name, value in findings.items():
            self._worst[name] = max(self._worst.get(name, value), value)

    def take(self, passes: int, frame: Sequence[Array]) -> None:
        """The frame that so many passes led to is wanted, and here."""
        self.frames.put((passes - self._warm_up) * self._dt, frame)

    def diverge(self, passes: int, frame: Sequence[Array], before: Sequence[Array] | None) -> None:
        """The frame that so many passes led to is not finite.

        Args:
            passes: that one included.
            frame: which is not finite.
            before: the last good one; None if there is none.
        """
        self.frames.reserve(frame)  # an answer without frames has shapes all the same
        taken = len(self.frames.times)
        last_taken = self._wanted[taken - 1] if taken else self._warm_up
        if before is not None and passes - 1 > last_taken:
            self.take(passes - 1, before)
        self.end(passes, ending="diverged")

    def end(
        self, passes: int, states: tuple[Array, ...] = (), ending: Ending | None = None
    ) -> None:
        """Nothing more comes."""
        self.ended = Ended(
            outputs=self.frames.outputs(),
            finite=True,
            findings=self._findings(passes) | self._worst,
            t=tuple(self.frames.times) if ending else None,
            ending=ending,
            states=states,
        )

"""Derivatives of an answer in many steps, through the very steps that serve it."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from certisolve_server.engines.stepping import AbstractStepper, Rows
from certisolve_server.engines.stepping.fixed_course import FixedCourse
from certisolve_server.jobs import Kind, SolveJob

from .memory import kept_row_bytes
from .modes import copies, differentiable_copies, pullback, pushforward
from .solution_map import AbstractSolutionMap

_Frames = list[Sequence[Tensor]]


class _Pass(NamedTuple):
    """One pass of every row.

    Attributes:
        move: what it is to do.
        wanted: whether its frame is part of the answer.
    """

    move: Any
    wanted: bool


class Shares(NamedTuple):
    """How reverse mode divides its work.

    Attributes:
        num_rows: directions at once.
        segment: steps whose way back is kept at once; they are made anew for it, unless these are
            all there are.
    """

    num_rows: int
    segment: int


class Trajectory(AbstractSolutionMap):
    """A job of a family whose steps have one size.

    Arguments:
        stepper: of the family.
        job: with the steps that are wanted.
        at: inputs and parameters, each of shape (...).
        max_batch_size: most rows of one step.
        memory_bytes: most that is kept for a way back.
    """

    def __init__(
        self,
        stepper: AbstractStepper[FixedCourse],
        job: SolveJob,
        at: Sequence[Tensor],
        max_batch_size: int,
        memory_bytes: int,
    ) -> None:
        self._stepper, self._work, self._at = stepper, job.work, at
        self._max_batch_size, self._memory_bytes = max_batch_size, memory_bytes
        self._passes = _passes(stepper.course(job))

    def jvp(self, tangents: Sequence[Tensor]) -> list[Tensor]:
        with torch.no_grad():
            return pushforward(self._frames, self._at, tangents)

    def vjp(self, cotangents: Sequence[Tensor]) -> list[Tensor]:
        segment = self._shares().segment

        def frames(rows: Sequence[Tensor]) -> list[Tensor]:
            return self._frames(rows, segment)

        return pullback(frames, self._at, cotangents)

    def batch_size(self, kind: Kind) -> int:
        return self._max_batch_size if kind == "jvp" else self._shares().num_rows

    def _shares(self) -> Shares:
        def first_step(num_rows: int) -> object:
            start = self._begin(differentiable_copies(self._at, num_rows))
            return self._walk(start, self._passes[:1])

        state = self._begin(copies(self._at, 1))
        return shares(
            len(self._passes),
            step_bytes=kept_row_bytes(first_step),
            state_bytes=sum(tensor.nbytes for tensor in state.values()),
            max_rows=self._max_batch_size,
            memory_bytes=self._memory_bytes,
        )

    def _frames(self, inputs: Sequence[Tensor], segment: int | None = None) -> list[Tensor]:
        """The wanted frames of rows of inputs, each of shape (batch, frame, ...)."""
        rows, taken, count = self._begin(inputs), _Frames(), len(self._passes)
        length = segment or count
        for start in range(0, count, length):
            passes = self._passes[start : start + length]
            if length < count:
                rows, frames = checkpoint(
                    self._walk, rows, passes, use_reentrant=False, preserve_rng_state=False
                )
            else:
                rows, frames = self._walk(rows, passes)
            taken += frames
        return [torch.stack(column, dim=1) for column in zip(*taken, strict=True)]

    def _begin(self, inputs: Sequence[Tensor]) -> Rows:
        return self._stepper.init(inputs, (), [self._work] * len(inputs[0]))

    def _walk(self, rows: Rows, passes: Sequence[_Pass]) -> tuple[Rows, _Frames]:
        frames, size = _Frames(), len(next(iter(rows.values())))
        for move, wanted in passes:
            rows, outputs, _ = self._stepper.step(rows, [move] * size)
            if wanted:
                frames.append(outputs)
        return rows, frames


def shares(
    num_steps: int, *, step_bytes: int, state_bytes: int, max_rows: int, memory_bytes: int
) -> Shares:
    """As many rows as fit when segments are as short as is of use, and no segments if all fits.

    N steps in segments of s keep s ways back and N/s states: fewest bytes for s = sqrt(N state/way)
    (Griewank and Walther, Evaluating Derivatives, 2008, chapter 12, with one level of checkpoints).

    Args:
        num_steps: N.
        step_bytes: that the way back of one row through one step takes.
        state_bytes: that one row takes.
        max_rows: of a step.
        memory_bytes: to keep within, if one row can.
    """
    best = round(math.sqrt(num_steps * state_bytes / step_bytes))
    segment = max(1, min(num_steps, best))
    row_bytes = segment * step_bytes + math.ceil(num_steps / segment) * state_bytes
    num_rows = max(1, min(max_rows, memory_bytes // row_bytes))
    whole = num_rows * num_steps * step_bytes <= memory_bytes
    return Shares(num_rows, num_steps if whole else segment)


def _passes(course: FixedCourse) -> list[_Pass]:
    passes: list[_Pass] = []
    while not course.at_end:
        passes.append(_Pass(course.move, course.launch()))
    return passes

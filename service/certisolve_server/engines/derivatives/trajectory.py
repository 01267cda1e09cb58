"""Derivatives of an answer in many steps, through the very steps that serve it."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from certisolve_server.engines.stepping import Rows
from certisolve_server.jobs import Kind

from .memory import Shares, kept_row_bytes, shares
from .modes import copies, differentiable_copies, pullback, pushforward
from .solution_map import AbstractSolutionMap
from .walk import AbstractWalk, Frames


class Trajectory(AbstractSolutionMap):
    """A walk from one point.

    Arguments:
        walk: the steps.
        at: inputs and parameters, each of shape (...).
        max_batch_size: most rows of one step.
        memory_bytes: most that is kept for a way back.
        check: called before each step; raises what ends the work.
    """

    def __init__(
        self,
        walk: AbstractWalk,
        at: Sequence[Tensor],
        max_batch_size: int,
        memory_bytes: int,
        check: Callable[[], None],
    ) -> None:
        self._walk, self._at, self._check = walk, at, check
        self._max_batch_size, self._memory_bytes = max_batch_size, memory_bytes

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
        walk = self._walk

        def first_step(num_rows: int) -> object:
            rows = walk.begin(differentiable_copies(self._at, num_rows))
            return walk.step(rows, walk.passes[0])

        state = walk.begin(copies(self._at, 1))
        return shares(
            len(walk.passes),
            step_bytes=kept_row_bytes(first_step),
            state_bytes=sum(tensor.nbytes for tensor in state.values()),
            max_rows=self._max_batch_size,
            memory_bytes=self._memory_bytes,
        )

    def _frames(self, inputs: Sequence[Tensor], segment: int | None = None) -> list[Tensor]:
        """The wanted frames of rows of inputs, each of shape (batch, frame, ...).

        Args:
            inputs: with parameters.
            segment: steps of which the way back is kept at once; None for all.
        """
        rows, found, passes = self._walk.begin(inputs), Frames(), self._walk.passes
        length = segment or len(passes)
        for start in range(0, len(passes), length):
            part = passes[start : start + length]
            if length < len(passes):
                rows, frames = checkpoint(
                    self._go, rows, part, use_reentrant=False, preserve_rng_state=False
                )
            else:
                rows, frames = self._go(rows, part)
            found += frames
        return [torch.stack(column, dim=1) for column in zip(*found, strict=True)]

    def _go(self, rows: Rows, passes: Sequence[Any]) -> tuple[Rows, Frames]:
        found = Frames()
        for each in passes:
            self._check()
            rows, frames = self._walk.step(rows, each)
            found += frames
        return rows, found

"""Derivatives of a single pass, through the program and its post-processors."""

from collections.abc import Sequence

import torch
from torch import Tensor

from certisolve_server.jobs import Kind

from .memory import kept_row_bytes
from .modes import RowFunction, differentiable_copies, pullback, pushforward
from .solution_map import AbstractSolutionMap


class DirectPass(AbstractSolutionMap):
    """A function of rows at one of its arguments.

    Arguments:
        function: from inputs and parameters to outputs.
        at: inputs and parameters, each of shape (...).
        max_batch_size: most rows of one pass.
        memory_bytes: most that one pass may keep for its way back.
    """

    def __init__(
        self, function: RowFunction, at: Sequence[Tensor], max_batch_size: int, memory_bytes: int
    ) -> None:
        self._function, self._at = function, at
        self._max_batch_size, self._memory_bytes = max_batch_size, memory_bytes

    def jvp(self, tangents: Sequence[Tensor]) -> list[Tensor]:
        with torch.no_grad():
            return pushforward(self._function, self._at, tangents)

    def vjp(self, cotangents: Sequence[Tensor]) -> list[Tensor]:
        return pullback(self._function, self._at, cotangents)

    def batch_size(self, kind: Kind) -> int:
        if kind == "jvp":
            return self._max_batch_size
        kept = kept_row_bytes(lambda count: self._function(differentiable_copies(self._at, count)))
        return max(1, min(self._max_batch_size, self._memory_bytes // kept))

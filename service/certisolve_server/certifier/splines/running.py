"""The least and the largest of neighbours, from tables of powers of two."""

import torch
from torch import Tensor


class RangeTable:
    """The hull of cells first..last of each row, by two overlapping runs of 2^k cells.

    Args:
        lower: (rows, cells).
        upper: likewise.
    """

    def __init__(self, lower: Tensor, upper: Tensor) -> None:
        self._lower, self._upper = [lower], [upper]
        width = 1
        while 2 * width <= lower.shape[1]:
            low, high = self._lower[-1], self._upper[-1]
            self._lower.append(_padded(torch.minimum(low[:, :-width], low[:, width:]), low))
            self._upper.append(_padded(torch.maximum(high[:, :-width], high[:, width:]), high))
            width *= 2
        self._lower_table = torch.stack(self._lower, 1).flatten(1)
        self._upper_table = torch.stack(self._upper, 1).flatten(1)
        self._cells = lower.shape[1]

    def hull(self, first: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
        """Of integer tensors (rows, queries), first <= last and both cells."""
        level = torch.frexp((last - first + 1).double())[1].long() - 1
        left = level * self._cells + first
        right = level * self._cells + last + 1 - (1 << level)
        lower = torch.minimum(self._lower_table.gather(1, left), self._lower_table.gather(1, right))
        upper = torch.maximum(self._upper_table.gather(1, left), self._upper_table.gather(1, right))
        return lower, upper


def _padded(run: Tensor, like: Tensor) -> Tensor:
    """As wide as the table; what is put in is never asked for."""
    missing = like.shape[1] - run.shape[1]
    return torch.cat([run, run[:, -1:].expand(-1, missing)], 1)

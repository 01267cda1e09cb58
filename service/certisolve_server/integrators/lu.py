"""Small linear systems, one per sample, by operations that know no batch.

Batched library routines choose their algorithm by the size of the batch, and with it the rounding.
Nothing is overwritten, so that derivatives go through.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor


class LU(NamedTuple):
    """Gaussian elimination, one entry per column."""

    #: Order of the remaining rows, that of the pivot first: (batch, n - k).
    orders: list[Int[Tensor, "batch rest"]]
    #: Multiples of the pivot's row that were taken from the others: (batch, n - k - 1).
    lower: list[Float[Tensor, "batch rest"]]
    upper: Float[Tensor, "batch n n"]


def factorize(matrix: Float[Tensor, "batch n n"]) -> LU:
    """Elimination with partial pivoting; a singular matrix gives non-finite factors."""
    orders, lower, upper = [], [], []
    n = matrix.shape[1]
    for k in range(n):
        order = _pivot_first(matrix[:, :, 0])
        matrix = matrix.gather(1, order[:, :, None].expand(-1, -1, n - k))
        head = matrix[:, 0]
        multiples = matrix[:, 1:, 0] / head[:, :1]
        orders.append(order)
        lower.append(multiples)
        upper.append(torch.nn.functional.pad(head, (k, 0)))
        matrix = matrix[:, 1:, 1:] - multiples[:, :, None] * head[:, None, 1:]
    return LU(orders, lower, torch.stack(upper, dim=1))


def solve(lu: LU, b: Float[Tensor, "batch n"]) -> Float[Tensor, "batch n"]:
    """The solution x of A x = b."""
    heads, xs = [], []
    for order, multiples in zip(lu.orders, lu.lower, strict=True):
        b = b.gather(1, order)
        heads.append(b[:, 0])
        b = b[:, 1:] - multiples * b[:, :1]
    rest = torch.stack(heads, dim=1)
    for k in reversed(range(len(heads))):
        x = rest[:, k] / lu.upper[:, k, k]
        rest = rest[:, :k] - lu.upper[:, :k, k] * x[:, None]
        xs.append(x)
    return torch.stack(xs[::-1], dim=1)


def _pivot_first(column: Float[Tensor, "batch rest"]) -> Int[Tensor, "batch rest"]:
    """The rows with the largest entry's and the first one exchanged."""
    pivot = column.detach().abs().argmax(dim=1, keepdim=True)
    rows = torch.arange(column.shape[1], device=column.device).expand_as(column)
    return torch.where(rows == 0, pivot, torch.where(rows == pivot, 0, rows))

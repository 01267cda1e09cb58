"""Small linear systems, one per sample, by operations that know no batch.

Batched library routines choose their algorithm by the size of the batch, and with it the rounding.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor


class LU(NamedTuple):
    """P A = L U: both triangles in one matrix, and the order of the rows."""

    factors: Float[Tensor, "batch n n"]
    rows: Int[Tensor, "batch n"]


def factorize(matrix: Float[Tensor, "batch n n"]) -> LU:
    """Gaussian elimination with partial pivoting; a singular matrix gives non-finite factors."""
    batch, n, _ = matrix.shape
    every = torch.arange(batch, device=matrix.device)
    a = matrix.clone()
    rows = torch.arange(n, device=matrix.device).repeat(batch, 1)
    for k in range(n - 1):
        pivot = a[:, k:, k].abs().argmax(dim=1) + k
        _swap(a, every, k, pivot)
        _swap(rows, every, k, pivot)
        a[:, k + 1 :, k] /= a[:, k, k, None]
        a[:, k + 1 :, k + 1 :] -= a[:, k + 1 :, k, None] * a[:, k, None, k + 1 :]
    return LU(a, rows)


def solve(lu: LU, b: Float[Tensor, "batch n"]) -> Float[Tensor, "batch n"]:
    """The solution x of A x = b."""
    a = lu.factors
    x = b.gather(1, lu.rows)
    n = x.shape[1]
    for k in range(n - 1):
        x[:, k + 1 :] -= a[:, k + 1 :, k] * x[:, k, None]
    for k in reversed(range(n)):
        x[:, k] /= a[:, k, k]
        x[:, :k] -= a[:, :k, k] * x[:, k, None]
    return x


def _swap(rows: Tensor, every: Tensor, k: int, pivot: Int[Tensor, " batch"]) -> None:
    upper, lower = rows[:, k].clone(), rows[every, pivot]
    rows[every, pivot] = upper
    rows[:, k] = lower

"""Conjugate directions that a network proposes (Kaneda et al., "DCDM", 2023), for a batch at once.

For A x = b with A symmetric and positive definite, from x = 0 and r = b, until |r| <= tol |b|:

    1. d = network(r / |r|);  for the last two steps' directions p, the newer one first:
       d <- d - (d·Ap)/(p·Ap) p
    2. s = r, made conjugate to the same two in the same way
    3. p = that of d and s whose line search lowers the energy more, which is (p·r)²/(p·Ap)
    4. x <- x + (p·r)/(p·Ap) p
    5. r <- b - A x, from x and not by recursion

Norms are Euclidean. All but the network, which may use float32, is computed in the dtype of b.

Step 3 is our addition. As r is orthogonal to the last two directions, s lowers the energy by at
least what steepest descent would: |x - x*|_A shrinks by (κ - 1)/(κ + 1) or more in every step, κ
the condition number of A, whatever the network returns, NaN included. With a network that is
linear, symmetric and positive definite the steps are those of preconditioned conjugate gradients.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

KEPT_DIRECTIONS = 2


class Solution(NamedTuple):
    """What an iteration found.

    Attributes:
        x: the solution.
        iterations: steps of each sample.
        relative_residual: |b - A x| / |b|, computed from x; 0 where b = 0.
        converged: whether that is at most the tolerance.
    """

    x: Float[Tensor, "batch y x"]
    iterations: Int[Tensor, " batch"]
    relative_residual: Float[Tensor, " batch"]
    converged: Bool[Tensor, " batch"]


class Direction(NamedTuple):
    """A direction p and A p."""

    p: Float[Tensor, "batch y x"]
    image: Float[Tensor, "batch y x"]


def solve_along_directions(
    operator: Callable[[Tensor], Tensor],
    network: Callable[[Tensor], Tensor],
    b: Float[Tensor, "batch y x"],
    *,
    tolerance: float = 1e-8,
    max_iterations: int = 500,
) -> Solution:
    """The x of A x = b.

    A sample that has converged is left as it is while its batch mates go on.

    Args:
        operator: the product A x, in the dtype of x.
        network: a direction from a residual of norm 1; in any dtype.
        b: right-hand sides.
        tolerance: of |b - A x| / |b|.
        max_iterations: the result is returned as it is after so many.
    """
    x, r, size = torch.zeros_like(b), b, _norm(b)
    iterations = torch.zeros(len(b), dtype=torch.int64, device=b.device)
    previous: list[Direction] = []
    for _ in range(max_iterations):
        active = _norm(r) > tolerance * size
        if not active.any():
            break
        proposed = network(r / _norm(r)[:, None, None]).to(b.dtype)
        steepest = _conjugate(operator, r, previous)
        direction = _better(_conjugate(operator, proposed, previous), steepest, r)
        length = _ratio(_dot(direction.p, r), _dot(direction.p, direction.image))
        x = torch.where(active[:, None, None], x + length[:, None, None] * direction.p, x)
        r = b - operator(x)
        iterations += active
        previous = [direction, *previous][:KEPT_DIRECTIONS]
    return Solution(x, iterations, _ratio(_norm(r), size), _norm(r) <= tolerance * size)


def _conjugate(
    operator: Callable[[Tensor], Tensor], d: Tensor, previous: list[Direction]
) -> Direction:
    """The part of d that is conjugate to the previous directions."""
    for p, image in previous:
        d = d - _ratio(_dot(d, image), _dot(p, image))[:, None, None] * p
    return Direction(d, operator(d))


def _better(first: Direction, second: Direction, r: Tensor) -> Direction:
    """Of each sample, the direction along which the energy falls more; the second if in doubt."""
    gains = [_ratio(_dot(p, r).square(), _dot(p, image)) for p, image in (first, second)]
    # False for NaN, so that whatever a network returns is no worse than steepest descent.
    chosen = (gains[0] > gains[1])[:, None, None]
    return Direction(*(torch.where(chosen, *pair) for pair in zip(first, second, strict=True)))


def _dot(u: Tensor, v: Tensor) -> Tensor:
    return (u * v).sum(dim=(1, 2))


def _norm(u: Tensor) -> Tensor:
    return torch.as_tensor(torch.linalg.vector_norm(u, dim=(1, 2)))


def _ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    """0 where the denominator is: of a zero right-hand side, and of what is left of zero."""
    return torch.where(denominator == 0, 0.0, numerator / denominator)

"""Operations that give a row the same bits whatever rows it is computed with.

Sums over an axis and powers are not among torch's: their order of additions, or their rounding,
depends on where in a vector register a row comes to lie. What is used here is single additions,
multiplications, divisions and square roots, which IEEE 754 rounds in one way only.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

#: Exponents are rounded to multiples of 2**-8, which a step size does not feel.
_BITS = 8


def weighted_sum(
    weights: Sequence[float], terms: Sequence[Float[Tensor, "batch state"]]
) -> Float[Tensor, "batch state"]:
    """The sum of `weights[i] * terms[i]`, from left to right; zero weights cost nothing."""
    total: Tensor | None = None
    for weight, term in zip(weights, terms, strict=True):
        if weight:
            total = term * weight if total is None else total + term * weight
    return torch.zeros_like(terms[0]) if total is None else total


def norm(x: Float[Tensor, "batch state"]) -> Float[Tensor, " batch"]:
    """Root mean square of each row in float64, summed by halves."""
    squares = x.double() * x.double()
    size = squares.shape[1]
    while squares.shape[1] > 1:
        half = squares.shape[1] // 2
        folded = squares[:, :half] + squares[:, half : 2 * half]
        squares = torch.cat((folded, squares[:, 2 * half :]), dim=1)
    return (squares[:, 0] / size).sqrt()


def power(x: Float[Tensor, " batch"], exponent: float) -> Float[Tensor, " batch"]:
    """`x ** exponent` for positive x, by square roots; the exponent is rounded to 1/256."""
    whole, fraction = divmod(round(abs(exponent) * 2**_BITS), 2**_BITS)
    result, root = torch.ones_like(x), x
    for _ in range(whole):
        result = result * x
    for bit in reversed(range(_BITS)):
        root = root.sqrt()
        if fraction >> bit & 1:
            result = result * root
    return 1 / result if exponent < 0 else result

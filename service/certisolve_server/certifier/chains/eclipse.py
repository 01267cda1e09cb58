"""Multipliers in closed form, layer by layer (ECLipsE-Fast: Xu and Sivaranjani, NeurIPS 2024).

With slopes in [alpha, beta], cap = max(|alpha|, |beta|), eta = (beta - alpha) / 2 and m the largest
eigenvalue of A X^{-1} A^T, the least eigenvalue of X_i is t (1 - eta^2 t) / (m (1 + alpha beta t))
for lambda = t / m; it is largest where alpha beta eta^2 t^2 + 2 eta^2 t = 1, at
t = 1 / (eta cap). For slopes in [0, 1] that is 2 / m, as in the paper.

One number for a layer is far off where its neurons are scaled differently, as in sandwich layers.
So the same is done for neurons scaled to an A X^{-1} A^T with ones on the diagonal, and the better
of both is taken. A search goes on best from the second, which is seldom at the edge of what is
feasible.
"""

from collections.abc import Callable
from typing import TypeAlias

import torch

from certisolve_server.certifier.arithmetic.rounding import Numbers

from .chain import Chain, Slopes
from .recursion import Infeasible, gains, identity, schur_complement

#: From A X^{-1} A^T, (..., rows, rows), and eta cap of each row to multipliers, (rows,).
Choice: TypeAlias = Callable[[Numbers, Numbers], Numbers]

# Of functions with one slope any multiplier is allowed, and none is the largest.
_LEAST_SPREAD = 2.0**-10

# Slopes of both signs and one size put the best multiplier on the edge of what is feasible.
_INSIDE = 1.0 - 2.0**-10

# Of the largest size on a diagonal; neurons that nothing reaches may have any multiplier.
_LEAST_SHARE = 2.0**-40

_MOST_HALVINGS = 60


def closed_form(chain: Chain) -> tuple[Numbers, ...]:
    """The better of both choices, (neurons,) each, feasible as far as floats can tell."""
    return min(
        (multipliers(chain, choice) for choice in (one_for_all, by_neuron)),
        key=lambda chosen: _gain(chain, chosen),
    )


def multipliers(chain: Chain, choice: Choice) -> tuple[Numbers, ...]:
    """By one choice, layer by layer."""
    x, chosen = identity(chain), []
    for a, slopes in zip(chain.centers, chain.rows, strict=False):
        weights, x = _feasible(x, a, slopes, chain.copies, choice)
        chosen.append(weights)
    return tuple(chosen)


def one_for_all(image: Numbers, caps: Numbers) -> Numbers:
    """1 / (m eta cap) for all neurons."""
    return torch.full_like(caps, 1.0 / (largest_eigenvalue(image) * float(caps.max())))


def by_neuron(image: Numbers, caps: Numbers) -> Numbers:
    """1 / (d m eta cap) with d the diagonal and m the largest eigenvalue of the scaled matrix."""
    sizes = image.diagonal(dim1=-2, dim2=-1).reshape(-1, caps.shape[0]).amax(0) * caps
    largest = float(sizes.max())
    sizes = sizes.clamp(min=largest * _LEAST_SHARE) if largest > 0 else torch.ones_like(sizes)
    root = (caps / sizes).sqrt()
    return 1.0 / (sizes * largest_eigenvalue(root[:, None] * image * root))


def largest_eigenvalue(symmetric: Numbers) -> float:
    """About that of all blocks; 1 where there is none above 0."""
    if not bool(symmetric.isfinite().all()):
        return 1.0
    largest = float(torch.linalg.eigvalsh(symmetric).max())
    return largest if largest > 0 else 1.0


def _feasible(
    x: Numbers, a: Numbers, slopes: Slopes, copies: int, choice: Choice
) -> tuple[Numbers, Numbers]:
    """The chosen multipliers, halved until all matrices that have to be are positive definite."""
    image = a @ torch.linalg.solve(x, a.mT)
    spread = torch.maximum((slopes.most - slopes.least) / 2, _LEAST_SPREAD * slopes.cap)
    caps = spread * slopes.cap
    # Layers of constants may have any multipliers.
    caps = torch.where(caps.max() > 0, caps, 1.0)
    chosen = choice(0.5 * (image + image.mT), caps) * _INSIDE
    # The copies of a neuron share one multiplier.
    weights = chosen.reshape(copies, -1).amin(0).nan_to_num(1.0, 1.0, 1.0)
    for _ in range(_MOST_HALVINGS):
        complement = schur_complement(x, a, slopes, weights.repeat(copies))
        if not isinstance(complement, Infeasible) and _is_positive(complement):
            return weights, complement
        weights = weights * 0.5
    # Multipliers that prove nothing are refused where they are verified.
    return weights, torch.eye(a.shape[-2], dtype=torch.float64)


def _gain(chain: Chain, chosen: tuple[Numbers, ...]) -> float:
    found = gains(chain, chosen)
    return float("inf") if isinstance(found, Infeasible) else float(found.squared.max())


def _is_positive(x: Numbers) -> bool:
    return not bool(torch.linalg.cholesky_ex(x)[1].any())

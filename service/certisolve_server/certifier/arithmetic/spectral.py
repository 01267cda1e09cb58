"""Upper bounds of the largest singular value, each of them proven, the least of them taken.

Iterations that approach the spectral norm from below appear here only to choose a basis or a
vector; what is returned is bounded by a theorem that holds for every basis and every vector.
"""

import math

import torch

from .interval import Interval, Operand, as_interval
from .products import matmul
from .rounding import Numbers, down, product_up, sqrt_up, sum_up, up
from .sums import sum_of_sizes

_PERRON_ITERATIONS = 16
_DAMPING = 2.0**-20

_LARGEST = torch.finfo(torch.float64).max
_SMALLEST = torch.finfo(torch.float64).tiny

# Elements between this and its reciprocal can be squared and summed.
_SQUARABLE = 2.0**-400


def spectral_norm(matrix: Operand) -> Numbers:
    """At least |M|_2 of each member M of C - R <= M <= C + R; inf where nothing is proven.

    The least of sqrt(|N|_1 |N|_inf) and |N|_F with N = |C| + R (Higham, Accuracy and Stability,
    section 6.3), the Perron root of N, and |C|_2 + |R|_2 with the Perron root of R, since
    |M|_2 <= |C|_2 + |M - C|_2 and sizes of elements bound the norm.

    Args:
        matrix: (..., rows, columns), not empty.
    """
    bounded, exponent = _scaled(as_interval(matrix))
    center, radius = bounded.midpoint_radius()
    sizes = bounded.magnitude
    squares = sum_of_sizes(product_up(sizes, sizes), (-2, -1))
    mixed = product_up(sum_of_sizes(sizes, -1).amax(-1), sum_of_sizes(sizes, -2).amax(-1))
    simple = sqrt_up(torch.minimum(squares, mixed))
    around = torch.zeros_like(simple) if bounded.is_exact else perron_bound(radius)
    of_center = sum_up(singular_basis_bound(center), around)
    bound = torch.minimum(torch.minimum(simple, of_center), perron_bound(sizes))
    return product_up(bound, exponent)


def singular_basis_bound(matrix: Numbers) -> Numbers:
    """At least |A|_2, to about n^2 roundings, by approximate singular vectors (Rump, BIT 51, 2011).

    For any square V with |I - V^T V|_2 <= d < 1, V is invertible with |V^-1|_2^2 <= 1 / (1 - d), so

        |A|_2^2 = |A V V^-1|_2^2 <= |(A V)^T (A V)|_2 / (1 - d).

    Both symmetric matrices are enclosed, and |S|_2 <= |S|_inf for symmetric S. With the singular
    vectors of A as V, (A V)^T (A V) is nearly diagonal and d nearly 0, so little is lost.

    Returns:
        inf where d is not proven to be below 1, or no basis was found.
    """
    tall = matrix if matrix.shape[-2] >= matrix.shape[-1] else matrix.mT
    basis = _basis(tall)
    image = matmul(tall, basis)
    gram = _largest_row(matmul(image.rearranged(lambda ends: ends.mT), image).magnitude)
    identity = torch.eye(basis.shape[-1], dtype=torch.float64)
    defect = _largest_row((matmul(basis.mT, basis) - identity).magnitude)
    # A lower bound of 1 - d; where it is not positive the quotient is no bound.
    kept = down(1.0 - defect)
    proven = (kept > 0) & gram.isfinite()
    quotient = up(gram / torch.where(proven, kept, 1.0))
    return torch.where(proven, sqrt_up(quotient), math.inf)


def perron_bound(sizes: Numbers) -> Numbers:
    """At least |N|_2 of matrices N >= 0, by the bound of Collatz and Wielandt.

    |N|_2^2 is the spectral radius of N^T N >= 0, and for every vector v > 0 that is at most
    max_i (N^T N v)_i / v_i (Horn, Johnson, Matrix Analysis, 2nd ed., theorem 8.1.26).

    Args:
        sizes: (..., rows, columns), not negative; inf gives inf.
    """
    finite = sizes.isfinite().all(-1).all(-1)
    known = torch.where(finite[..., None, None], sizes, 0.0)
    vector = _perron_vector(known)
    image = matmul(known.mT, matmul(known, vector))
    ratios = up(image.upper / vector).amax((-2, -1))
    proven = finite & ratios.isfinite()
    return torch.where(proven, sqrt_up(ratios.clamp(min=0.0)), math.inf)


def _perron_vector(sizes: Numbers) -> Numbers:
    """A positive column near the leading singular vector; nothing rests on how near."""
    vector = torch.ones_like(sizes[..., :1, :]).mT
    for _ in range(_PERRON_ITERATIONS):
        image = sizes.mT @ (sizes @ vector)
        largest = image.amax(-2, keepdim=True)
        # Damped, so that no element reaches 0, as of a column of zeros.
        vector = image / torch.where(largest > 0, largest, 1.0) + _DAMPING * vector
    return vector.nan_to_num(1.0).clamp(min=_SMALLEST, max=_LARGEST)


def _basis(tall: Numbers) -> Numbers:
    """Approximate right singular vectors as columns, or zeros, which prove nothing."""
    gram = tall.mT @ tall
    try:
        basis: Numbers = torch.linalg.eigh(gram)[1]
    except torch.linalg.LinAlgError:  # type: ignore[attr-defined]  # its stub leaves it out
        return torch.zeros_like(gram)
    return torch.where(basis.isfinite(), basis, 0.0)


def _largest_row(sizes: Numbers) -> Numbers:
    return sum_of_sizes(sizes, -1).amax(-1)


def _scaled(matrix: Interval) -> tuple[Interval, Numbers]:
    """(S, s) with s S = M, s a power of 2, the largest size in S near 1 where it was too far off.

    Squares of elements would overflow or vanish otherwise. Bounds of S, times s, are bounds of M.
    """
    largest = matrix.magnitude.amax((-2, -1))
    usual = bool(((largest == 0) | ((largest > _SQUARABLE) & (largest < 1 / _SQUARABLE))).all())
    if usual:
        return matrix, torch.ones_like(largest)
    powers = torch.frexp(largest.clamp(max=_LARGEST))[1].clamp(-1000, 1000)
    scale = torch.ldexp(torch.ones_like(largest), powers)
    return matrix / scale[..., None, None], scale

"""Upper bounds of operator norms |M|_{p->q} = max |M x|_q / |x|_p of exact and interval M."""

from typing import Literal, get_args

import torch

from .interval import Operand, as_interval
from .rounding import Numbers, product_up, sqrt_up
from .spectral import spectral_norm
from .sums import sum_of_sizes

#: A norm of vectors: sum of sizes, Euclidean, largest size.
Norm = Literal["l1", "l2", "linf"]


def operator_norm(matrix: Operand, p: Norm, q: Norm) -> Numbers:
    """At least |M|_{p->q} of each member M; inf where nothing smaller is proven.

    With N the largest sizes of the elements, |M|_{p->q} <= |N|_{p->q} for all these norms, and of N
    there are closed forms where p = l1 (the largest |column|_q) and where q = linf (the largest
    |row|_{p*}, p* dual to p); both are attained by an exact matrix (Higham, Accuracy and Stability,
    section 6.2). l2->l2: see `spectral_norm`. For the rest, which are hard to compute exactly
    (Hendrickx, Olshevsky, SIAM J. Matrix Anal. 31, 2010), the least of some bounds.

    Args:
        matrix: (..., rows, columns), any batch.
        p: of the argument.
        q: of the result.

    Returns:
        One bound per matrix of the batch.
    """
    if not {p, q} <= set(get_args(Norm)):
        raise ValueError(f"norms are {get_args(Norm)}, not {p} and {q}")
    bounded = as_interval(matrix)
    sizes = bounded.magnitude
    if 0 in sizes.shape[-2:]:
        return sizes.new_zeros(sizes.shape[:-2])
    if p == "l1":
        return _vector_norm(sizes.mT, q).amax(-1)
    if q == "linf":
        return _vector_norm(sizes, _dual(p)).amax(-1)
    spectral = spectral_norm(bounded)
    if p == "l2" and q == "l2":
        return spectral
    return _mixed(sizes, spectral, p, q)


def _mixed(sizes: Numbers, spectral: Numbers, p: Norm, q: Norm) -> Numbers:
    """|N|_{l2->l1}, |N|_{linf->l2} and |N|_{linf->l1}, each by elements and by the spectral norm.

    |N x|_1 = s.|x| <= |s|_2 |x|_2 with s the sums of columns; |N x|_2 <= |N 1|_2 |x|_inf; and
    |y|_1 <= sqrt(rows) |y|_2, |x|_2 <= sqrt(columns) |x|_inf.
    """
    rows, columns = sizes.shape[-2:]
    if p == "l2":
        return torch.minimum(
            _vector_norm(sum_of_sizes(sizes, -2), "l2"), _times_root(spectral, rows)
        )
    if q == "l2":
        return torch.minimum(
            _vector_norm(sum_of_sizes(sizes, -1), "l2"), _times_root(spectral, columns)
        )
    return torch.minimum(sum_of_sizes(sizes, (-2, -1)), _times_root(spectral, rows * columns))


def _vector_norm(sizes: Numbers, norm: Norm) -> Numbers:
    """At least the norm of each vector of sizes along the last axis."""
    if norm == "l1":
        return sum_of_sizes(sizes, -1)
    if norm == "linf":
        return sizes.amax(-1)
    return sqrt_up(sum_of_sizes(product_up(sizes, sizes), -1))


def _dual(norm: Norm) -> Norm:
    duals: dict[Norm, Norm] = {"l1": "linf", "l2": "l2", "linf": "l1"}
    return duals[norm]


def _times_root(bound: Numbers, number: int) -> Numbers:
    return product_up(bound, sqrt_up(bound.new_tensor(float(number))))

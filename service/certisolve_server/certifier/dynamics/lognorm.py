"""Logarithmic norms of interval matrices: at which rate differences grow, at most.

mu(A) = lim (|I + hA| - 1) / h, and differences d of trajectories with d' = M(t) d have
|d(T)| <= exp(integral of mu(M(t))) |d(0)| (Soderlind, "The logarithmic norm", BIT 46, 2006).
In closed form mu_inf(A) is the largest of a_ii + sum of |a_ij| over a row, mu_1(A) that over a
column, and mu_2(A) the largest eigenvalue of (A + A^T) / 2.
"""

import torch
from torch import Tensor

from certisolve_server.certifier.arithmetic import Interval, matmul
from certisolve_server.certifier.arithmetic.norms import Norm
from certisolve_server.certifier.arithmetic.rounding import down, sum_up, up
from certisolve_server.certifier.arithmetic.spectral import perron_bound
from certisolve_server.certifier.arithmetic.sums import sum_of_sizes


def logarithmic_norm(matrix: Interval, norm: Norm) -> Tensor:
    """At least mu of every member, (..., n, n) to (...); inf where there is no bound."""
    if norm == "linf":
        return _dominance(matrix)
    if norm == "l1":
        return _dominance(matrix.rearranged(lambda ends: ends.mT))
    symmetric = (matrix + matrix.rearranged(lambda ends: ends.mT)) * 0.5
    return torch.minimum(_dominance(symmetric), largest_eigenvalue(symmetric))


def largest_eigenvalue(symmetric: Interval) -> Tensor:
    """At least the largest eigenvalue of every symmetric member of C +- R; inf without a proof.

    It is at most that of C and |R|_2 together (Weyl). For any V with |I - V^T V|_2 <= d < 1, the
    quotient x^T C x / x^T x is z^T (V^T C V) z / z^T (V^T V) z with x = V z, so it is at most
    g / (1 - d) for g >= 0 and g / (1 + d) for g < 0, where g bounds the eigenvalues of V^T C V from
    above (Gershgorin). V are approximate eigenvectors, about which nothing is assumed.
    """
    center, radius = symmetric.midpoint_radius()
    basis = _basis(center)
    image = matmul(basis.mT, matmul(center, basis))
    top = _dominance(image)
    identity = torch.eye(center.shape[-1], dtype=torch.float64)
    defect = sum_of_sizes((matmul(basis.mT, basis) - identity).magnitude, -1).amax(-1)
    kept, grown = down(1.0 - defect), up(1.0 + defect)
    bound = torch.where(top >= 0, up(top / torch.where(kept > 0, kept, 1.0)), up(top / grown))
    known = (kept > 0) & bound.isfinite()
    around = perron_bound(torch.maximum(radius, radius.mT))
    return torch.where(known, sum_up(torch.where(known, bound, 0.0), around), torch.inf)


def _dominance(matrix: Interval) -> Tensor:
    """At least the largest a_ii + sum over j of |a_ij|, j not i."""
    sizes = matrix.magnitude
    diagonal = torch.diagonal(matrix.upper, dim1=-2, dim2=-1)
    others = sizes - torch.diag_embed(torch.diagonal(sizes, dim1=-2, dim2=-1))
    # What is subtracted from itself is 0, unless it is infinite.
    rest = sum_of_sizes(others.nan_to_num(nan=torch.inf, posinf=torch.inf), -1)
    return sum_up(diagonal, rest).amax(-1)


def _basis(center: Tensor) -> Tensor:
    try:
        basis: Tensor = torch.linalg.eigh(center)[1]
    except torch.linalg.LinAlgError:  # type: ignore[attr-defined]  # its stub leaves it out
        return torch.zeros_like(center)
    return torch.where(basis.isfinite(), basis, 0.0)

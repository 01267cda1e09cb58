"""No member of a matrix stretches a vector by more than its bound, whatever norms are asked for."""

import itertools
import math
from fractions import Fraction

import mpmath
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from certisolve_server.certifier.arithmetic import Interval, operator_norm, spectral_norm
from certisolve_server.certifier.arithmetic.spectral import perron_bound, singular_basis_bound
from exact_members import adversarial_floats, intervals

NORMS = ("l1", "l2", "linf")
DIGITS = 60


def mp_matrix(matrix: torch.Tensor) -> mpmath.matrix:
    return mpmath.matrix(matrix.tolist())


def exact_norm(matrix: torch.Tensor, p: str, q: str) -> mpmath.mpf:
    """The norm of a small matrix: a convex function, at its largest at a corner of the unit ball.

    Where neither ball has few corners, p = q = l2, by singular values to 60 digits.
    """
    with mpmath.workdps(DIGITS):
        m = mp_matrix(matrix)
        if p == "l2" and q == "l2":
            return max(mpmath.svd_r(m, compute_uv=False))
        if p == "l2":
            dual = {"l1": "linf", "l2": "l2", "linf": "l1"}
            return exact_norm(matrix.mT, dual[q], dual[p])
        if p == "l1":
            corners = [[int(j == k) for j in range(m.cols)] for k in range(m.cols)]
        else:
            corners = [list(signs) for signs in itertools.product((-1, 1), repeat=m.cols)]
        orders = {"l1": 1, "l2": 2, "linf": mpmath.inf}
        return max(mpmath.norm(m * mpmath.matrix(corner), orders[q]) for corner in corners)


@st.composite
def matrices(draw) -> Interval:
    rows, columns = draw(st.sampled_from([(1, 1), (2, 3), (3, 2), (4, 4)]))
    floats = draw(st.sampled_from([st.floats(-3.0, 3.0), st.sampled_from([-1.0, 0.0, 2.0])]))
    x = draw(intervals(rows * columns, floats, bounded=True))
    return x.rearranged(lambda ends: ends.reshape(rows, columns))


@pytest.mark.parametrize("q", NORMS)
@pytest.mark.parametrize("p", NORMS)
@settings(max_examples=25, deadline=None)
@given(x=matrices(), seed=st.integers(0, 99))
def test_norms_of_members_are_not_above_the_bound(p, q, x, seed):
    bound = operator_norm(x, p, q).item()
    share = torch.rand(x.shape, generator=torch.Generator().manual_seed(seed)).round()
    for member in (x.lower, x.upper, torch.where(share > 0, x.lower, x.upper)):
        assert exact_norm(member, p, q) <= mpmath.mpf(bound) * (1 + mpmath.mpf(10) ** -50)


@pytest.mark.parametrize(("p", "q"), [("l1", "l1"), ("l1", "l2"), ("l2", "linf"), ("linf", "linf")])
@settings(max_examples=25, deadline=None)
@given(x=matrices())
def test_norms_with_closed_forms_are_met_to_rounding(p, q, x):
    exact = exact_norm(x.lower, p, q)
    assert operator_norm(x.lower, p, q).item() <= float(exact) * (1 + 1e-14) + 1e-150


@settings(max_examples=40, deadline=None)
@given(x=intervals(12, adversarial_floats))
def test_sums_of_rows_and_columns_are_exact_up_to_rounding(x):
    grid = x.rearranged(lambda ends: ends.reshape(3, 4))
    sizes = [
        [Fraction(v) if math.isfinite(v) else v for v in row] for row in grid.magnitude.tolist()
    ]
    rows = max(sum(row) for row in sizes)
    columns = max(sum(column) for column in zip(*sizes, strict=True))
    assert rows <= operator_norm(grid, "linf", "linf").item()
    assert columns <= operator_norm(grid, "l1", "l1").item()


@pytest.mark.parametrize("shape", [(1, 1), (5, 5), (40, 12), (12, 40), (3, 4, 6, 5)])
@pytest.mark.parametrize("scale", [1.0, 1e-200, 1e200, 1e-300])
def test_spectral_norms_are_met_to_rounding_at_every_scale(shape, scale):
    matrix = torch.randn(*shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    reference = torch.linalg.matrix_norm(matrix, 2)
    ratio = spectral_norm(matrix * scale) / scale / reference
    # torch's own singular values are off by rounding as well.
    assert ((ratio > 1 - 1e-14) & (ratio < 1 + 1e-11)).all()


def known_norms() -> dict[str, tuple[torch.Tensor, float]]:
    """Matrices that are hard for one method or another, with their spectral norms."""
    orthogonal = torch.linalg.qr(torch.randn(20, 20, generator=torch.Generator().manual_seed(1)))[0]
    hadamard = torch.ones(1, 1)
    for _ in range(4):
        hadamard = torch.cat(
            [torch.cat([hadamard, hadamard], 1), torch.cat([hadamard, -hadamard], 1)]
        )
    rank_one = torch.outer(torch.ones(30), torch.ones(7))
    return {
        "equal singular values": (hadamard, 4.0),
        "identity": (torch.eye(9), 1.0),
        "rank one": (rank_one, math.sqrt(210.0)),
        "zero": (torch.zeros(4, 3), 0.0),
        "one element far below the others": (torch.diag(torch.tensor([1.0, 1e-30])), 1.0),
        "nilpotent": (torch.tensor([[0.0, 1.0], [0.0, 0.0]]), 1.0),
        "nearly orthogonal": (orthogonal, 1.0),
    }


@pytest.mark.parametrize("name", known_norms())
def test_spectral_norms_that_are_known(name):
    matrix, norm = known_norms()[name]
    bound = spectral_norm(matrix).item()
    assert norm * (1 - 1e-6) <= bound <= norm * (1 + 1e-6)
    if name != "nearly orthogonal":
        assert norm <= bound * (1 + 1e-16) <= norm * (1 + 1e-12)


def test_each_alternative_is_a_bound_by_itself():
    for seed in range(20):
        matrix = torch.randn(4, 3, generator=torch.Generator().manual_seed(seed)).double()
        assert exact_norm(matrix, "l2", "l2") <= singular_basis_bound(matrix).item()
        assert exact_norm(matrix.abs(), "l2", "l2") <= perron_bound(matrix.abs()).item()


def test_a_basis_that_is_none_proves_nothing():
    matrix = torch.full((2, 2), 1e200, dtype=torch.float64)
    assert singular_basis_bound(matrix).item() == math.inf


@pytest.mark.parametrize("q", NORMS)
@pytest.mark.parametrize("p", NORMS)
def test_unbounded_matrices_have_unbounded_norms_and_empty_ones_none(p, q):
    two = torch.stack([torch.ones(2, 2), torch.full((2, 2), math.inf)])
    bounds = operator_norm(Interval.between(-two, two), p, q)
    assert bounds[0] < 4.1
    assert bounds[1] == math.inf
    assert operator_norm(torch.zeros(3, 0, 2), p, q).tolist() == [0.0] * 3


def test_the_radius_is_not_counted_twice_where_signs_agree():
    ones = torch.ones(8, 8, dtype=torch.float64)
    assert spectral_norm(Interval.ball(ones, 0.5)).item() < 12.0000001
    signs = torch.linalg.qr(torch.randn(8, 8, generator=torch.Generator().manual_seed(2)).double())[
        0
    ]
    assert spectral_norm(Interval.ball(signs, 1e-3)).item() < 1.0 + 8.0001e-3


def test_norms_of_other_names_are_refused():
    with pytest.raises(ValueError, match="norms are"):
        operator_norm(torch.eye(2), "L2", "l2")

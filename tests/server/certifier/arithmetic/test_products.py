"""Linear maps of intervals hold what their members give, whatever BLAS does with the rounding."""

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from certisolve_server.certifier.arithmetic import (
    Interval,
    bilinear,
    convolution,
    cumulative,
    einsum,
    gamma,
    matmul,
    mean,
    total,
    transposed_convolution,
)
from exact_members import LARGEST, adversarial_floats, elements, fractions, intervals, is_inside

ordinary = st.floats(-8.0, 8.0)
kinds = st.sampled_from([ordinary, adversarial_floats])


@st.composite
def pairs(draw) -> tuple[Interval, Interval]:
    """A row and a column of one length."""
    size = draw(st.sampled_from([1, 2, 7, 30]))
    return draw(intervals(size, draw(kinds))), draw(intervals(size, draw(kinds)))


def corners(x: Interval) -> list[list[Fraction]]:
    """Members of an interval vector at its ends and alternating; clipped where it is endless."""
    lower, upper = fractions(x.lower.clamp(min=-LARGEST)), fractions(x.upper.clamp(max=LARGEST))
    mixed = [pair[index % 2] for index, pair in enumerate(zip(lower, upper, strict=True))]
    return [lower, upper, mixed]


@settings(max_examples=150, deadline=None)
@given(pairs())
def test_inner_products_of_members_are_held(pair):
    a, x = pair
    result = elements(matmul(a, x))[0]
    for row in corners(a):
        for column in corners(x):
            assert is_inside(sum(u * v for u, v in zip(row, column, strict=True)), result)


@settings(max_examples=60, deadline=None)
@given(pairs())
def test_the_worst_corner_is_held(pair):
    a, x = pair
    largest = [
        max(Fraction(u) * Fraction(v) for u in left for v in right)
        for left, right in zip(elements(a), elements(x), strict=True)
        if math.isfinite(sum(left) + sum(right))
    ]
    if len(largest) == len(elements(a)):
        assert sum(largest) <= matmul(a, x).upper.item()


def test_cancellation_is_carried():
    row = torch.tensor([1e16, 1.0, -1e16], dtype=torch.float64)
    ones = torch.ones(3, dtype=torch.float64)
    assert matmul(row, ones).contains(1.0).item()
    assert total(Interval.exact(row), 0).contains(1.0).item()


def test_underflow_is_carried():
    tiny = torch.full((8,), 1e-170, dtype=torch.float64)
    result = elements(matmul(tiny, tiny))[0]
    assert is_inside(sum(v * v for v in fractions(tiny)), result)


def flushed(x: torch.Tensor) -> torch.Tensor:
    return torch.where(x.abs() < 2.0**-1022, 0.0, x)


@settings(max_examples=60, deadline=None)
@given(
    row=intervals(5, st.sampled_from([5e-324, 1e-310, 3.0, -1e150, 1e300])),
    column=intervals(5, st.sampled_from([1e-320, -2e-308, 1.0, 1e10, 1e300])),
)
def test_products_that_take_subnormal_numbers_for_zero_are_carried(row, column):
    result = bilinear(lambda u, v: flushed(flushed(u) @ flushed(v)), 5, row, column)
    for left in corners(row):
        for right in corners(column):
            inner = sum(u * v for u, v in zip(left, right, strict=True))
            assert is_inside(inner, elements(result)[0])


def test_overflow_leaves_no_bound_and_no_nan():
    large = torch.tensor([[LARGEST, LARGEST, -LARGEST], [1.0, 0.0, 0.0]], dtype=torch.float64)
    result = matmul(large, torch.full((3, 1), 2.0, dtype=torch.float64))
    assert elements(result)[0] == (-math.inf, math.inf)
    assert elements(result)[1][1] <= 2.0000001


def test_an_endless_element_reaches_only_what_depends_on_it():
    x = Interval.between(torch.tensor([1.0, -math.inf]), torch.tensor([1.0, math.inf]))
    weights = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    result = elements(matmul(weights, x))
    assert result[0][1] <= 1.0000001
    assert result[1] == (-math.inf, math.inf)


def test_zeros_stay_zero():
    x = Interval.ball(torch.ones(4, 3, dtype=torch.float64), 0.5)
    assert matmul(torch.zeros(2, 4), x).magnitude.max() == 0


def test_float32_weights_are_the_numbers_they_are():
    weights = torch.tensor([[0.1, 0.2]])
    x = torch.tensor([[1.0], [1.0]], dtype=torch.float64)
    assert is_inside(sum(fractions(weights.double())), elements(matmul(weights, x))[0])


@pytest.mark.parametrize("terms", [0, 1, 5, 1000, 10**9])
def test_gamma_is_not_below_its_formula(terms):
    exact = Fraction(terms, 2**53) / (1 - Fraction(terms, 2**53))
    assert exact <= gamma(terms) <= exact * Fraction(1.000001)


def test_gamma_of_too_many_terms_is_refused():
    with pytest.raises(ValueError, match="no error bound"):
        gamma(1 << 51)


@settings(max_examples=60, deadline=None)
@given(x=intervals(12), rows=st.sampled_from([1, 3, 4]))
def test_sums_over_axes_hold_sums_of_members(x, rows):
    grid = x.rearranged(lambda ends: ends.reshape(rows, -1))
    columns = grid.shape[1]
    for corner in corners(x):
        table = [corner[row * columns : (row + 1) * columns] for row in range(rows)]
        for result, row in zip(elements(total(grid, 1)), table, strict=True):
            assert is_inside(sum(row), result)
        for result, row in zip(elements(mean(grid, -1)), table, strict=True):
            assert is_inside(sum(row) / columns, result)
        assert is_inside(sum(corner), elements(total(grid, (0, 1)))[0])
        for place, result in enumerate(elements(cumulative(grid.rearranged(torch.flatten), 0))):
            assert is_inside(sum(corner[: place + 1]), result)


def random_ball(*shape: int, radius: float, seed: int) -> Interval:
    generator = torch.Generator().manual_seed(seed)
    center = torch.randn(*shape, generator=generator, dtype=torch.float64)
    return Interval.ball(center, radius * torch.rand(*shape, generator=generator))


def members_of(x: Interval, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    share = torch.rand(x.shape, generator=generator, dtype=torch.float64).round()
    return torch.where(share > 0, x.upper, x.lower)


# Members are computed in float64 here, so they are as far off as this; bounds must not be that far.
ROUNDING = 1e-11

subscripts = ["ij,jk->ik", "bij,bjk->bik", "ij,ij->i", "...i,io->...o", "ij,kj->", "bi,oi->ob"]
shapes = [
    ((3, 4), (4, 5)),
    ((2, 3, 4), (2, 4, 5)),
    ((3, 4), (3, 4)),
    ((2, 3, 4), (4, 5)),
    ((3, 4), (2, 4)),
    ((3, 4), (2, 4)),
]


@pytest.mark.parametrize(("equation", "sizes"), list(zip(subscripts, shapes, strict=True)))
def test_contractions_hold_members_and_little_more(equation, sizes):
    a = random_ball(*sizes[0], radius=0.1, seed=1)
    x = random_ball(*sizes[1], radius=0.1, seed=2)
    result = einsum(equation, a, x)
    for seed in range(20):
        value = torch.einsum(equation, members_of(a, seed), members_of(x, seed + 99))
        assert (result.lower - ROUNDING <= value).all()
        assert (value <= result.upper + ROUNDING).all()
    exact = einsum(equation, members_of(a, 1), members_of(x, 1))
    assert (exact.upper - exact.lower).max() < ROUNDING


def test_an_einsum_names_its_result():
    with pytest.raises(ValueError, match="result"):
        einsum("ij,jk", torch.ones(2, 2), torch.ones(2, 2))


layouts = [
    {"stride": (1,), "padding": (0,), "dilation": (1,), "groups": 1},
    {"stride": (2,), "padding": (3,), "dilation": (2,), "groups": 2},
    {"stride": (2, 1), "padding": (1, 0), "dilation": (1, 2), "groups": 2},
    {"stride": (1, 2, 1), "padding": (1, 1, 0), "dilation": (1, 1, 1), "groups": 1},
]


@pytest.mark.parametrize("layout", layouts)
def test_convolutions_are_those_of_torch(layout):
    axes = len(layout["stride"])
    weight = random_ball(6, 4 // layout["groups"], *(3, 2, 3)[:axes], radius=0.01, seed=1)
    x = random_ball(2, 4, *(9, 8, 7)[:axes], radius=0.1, seed=2)
    reference = getattr(functional, f"conv{axes}d")
    result = convolution(weight, x, **layout)
    for seed in range(10):
        value = reference(members_of(x, seed), members_of(weight, seed), None, **layout)
        assert value.shape == result.shape
        assert (result.lower - ROUNDING <= value).all()
        assert (value <= result.upper + ROUNDING).all()
    exact = convolution(members_of(weight, 1), members_of(x, 1), **layout)
    assert (exact.upper - exact.lower).max() < ROUNDING


@pytest.mark.parametrize("layout", layouts)
def test_transposed_convolutions_are_those_of_torch(layout):
    axes = len(layout["stride"])
    more = {**layout, "output_padding": tuple(step - 1 for step in layout["stride"])}
    weight = random_ball(4, 3, *(3, 2, 3)[:axes], radius=0.01, seed=1)
    x = random_ball(2, 4, *(5, 4, 3)[:axes], radius=0.1, seed=2)
    reference = getattr(functional, f"conv_transpose{axes}d")
    result = transposed_convolution(weight, x, **more)
    for seed in range(10):
        value = reference(members_of(x, seed), members_of(weight, seed), None, **more)
        assert value.shape == result.shape
        assert (result.lower - ROUNDING <= value).all()
        assert (value <= result.upper + ROUNDING).all()


def test_sums_over_no_axes_and_settings_of_too_few_axes_are_refused():
    with pytest.raises(ValueError, match="axes"):
        total(Interval.exact(torch.ones(3)), ())
    image, weight = torch.ones(1, 1, 4, 4), torch.ones(1, 1, 2, 2)
    with pytest.raises(ValueError, match="axes"):
        convolution(weight, image, stride=(1, 1), padding=(1,), dilation=(1, 1))
    with pytest.raises(ValueError, match="axes"):
        convolution(weight, image[0], stride=(1, 1), padding=(1, 1), dilation=(1, 1))

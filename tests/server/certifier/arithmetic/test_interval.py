"""No member of an operand leads out of the interval that an operation gives."""

import math
from collections.abc import Callable
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from certisolve_server.certifier.arithmetic import (
    Interval,
    NotABound,
    OutsideDomain,
    UnsoundArithmetic,
    concatenate,
    require_ieee_arithmetic,
    require_ieee_threads,
    stack,
)
from exact_members import LARGEST, elements, intervals, is_inside, members

NAN, INFINITY = math.nan, math.inf

binary: dict[str, Callable] = {
    "sum": lambda x, y: x + y,
    "difference": lambda x, y: x - y,
    "product": lambda x, y: x * y,
    "larger": lambda x, y: x.maximum(y) if isinstance(x, Interval) else max(x, y),
    "smaller": lambda x, y: x.minimum(y) if isinstance(x, Interval) else min(x, y),
    "hull": lambda x, y: x.hull(y) if isinstance(x, Interval) else (2 * x + y) / 3,
}


def vector(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize("name", binary)
@settings(max_examples=60, deadline=None)
@given(x=intervals(), y=intervals())
def test_two_operands_of_every_kind_lead_inside(name, x, y):
    operation = binary[name]
    results = elements(operation(x, y))
    for left, right, result in zip(elements(x), elements(y), results, strict=True):
        for a in members(*left):
            for b in members(*right):
                assert is_inside(operation(a, b), result)


@settings(max_examples=60, deadline=None)
@given(x=intervals(), y=intervals())
def test_quotients_lead_inside_or_are_refused_where_a_divisor_may_be_zero(x, y):
    divides = (y.lower > 0) | (y.upper < 0)
    if not divides.all():
        with pytest.raises(OutsideDomain):
            x / y
    kept = divides.nonzero()[:, 0]
    x, y = x.rearranged(lambda ends: ends[kept]), y.rearranged(lambda ends: ends[kept])
    for left, right, result in zip(elements(x), elements(y), elements(x / y), strict=True):
        for a in members(*left):
            for b in members(*right):
                assert is_inside(a / b, result)


@settings(max_examples=60, deadline=None)
@given(x=intervals(), exponent=st.integers(0, 9))
def test_powers_lead_inside(x, exponent):
    for ends, result in zip(elements(x), elements(x**exponent), strict=True):
        for member in members(*ends):
            assert is_inside(member**exponent, result)


@settings(max_examples=60, deadline=None)
@given(x=intervals())
def test_one_operand_leads_inside(x):
    operations = {
        "negation": (-x, lambda v: -v),
        "absolute value": (abs(x), abs),
        "square": (x.square(), lambda v: v * v),
    }
    for results, operation in operations.values():
        for ends, result in zip(elements(x), elements(results), strict=True):
            for member in members(*ends):
                assert is_inside(operation(member), result)


@settings(max_examples=60, deadline=None)
@given(x=intervals())
def test_centre_and_radius_reach_both_ends(x):
    centers, radii = x.midpoint_radius()
    for (lower, upper), center, radius in zip(
        elements(x), centers.tolist(), radii.tolist(), strict=True
    ):
        assert math.isfinite(center)
        if radius < INFINITY:
            assert Fraction(center) - Fraction(radius) <= lower
            assert upper <= Fraction(center) + Fraction(radius)
    assert x.within(Interval.ball(centers, radii)).all()


@settings(max_examples=60, deadline=None)
@given(x=intervals(), y=intervals(), narrow=intervals(bounded=True))
def test_operations_on_parts_lie_inside_of_operations_on_the_whole(x, y, narrow):
    part = Interval(
        narrow.lower.maximum(x.lower).minimum(x.upper),
        narrow.upper.maximum(x.lower).minimum(x.upper),
    )
    for operation in binary.values():
        assert operation(part, y).within(operation(x, y)).all()
    for exponent in range(6):
        assert (part**exponent).within(x**exponent).all()


@settings(max_examples=100, deadline=None)
@given(x=intervals(bounded=True), y=intervals(bounded=True))
def test_ends_are_not_further_out_than_the_next_float(x, y):
    for operation in (binary["sum"], binary["difference"], binary["product"]):
        for left, right, (lower, upper) in zip(
            elements(x), elements(y), elements(operation(x, y)), strict=True
        ):
            ends = [operation(Fraction(a), Fraction(b)) for a in left for b in right]
            assert math.nextafter(math.nextafter(lower, INFINITY), INFINITY) >= min(ends)
            assert math.nextafter(math.nextafter(upper, -INFINITY), -INFINITY) <= max(ends)


def test_what_is_exactly_zero_stays_zero():
    x, zero = Interval.between(vector(-1.0), vector(INFINITY)), Interval.exact(vector(0.0))
    assert elements(x * zero) == [(0.0, 0.0)]
    point = Interval.exact(vector(0.1))
    assert elements(point - 0.1) == [(0.0, 0.0)]
    assert (
        elements(Interval.between(vector(0.0), 1.0) * Interval.between(vector(0.0), 1e-300))[0][0]
        == 0
    )


def test_overflow_is_a_bound_of_infinity_and_never_nan():
    large = Interval.exact(vector(LARGEST, -LARGEST))
    assert elements(large + large) == [(LARGEST, INFINITY), (-INFINITY, -LARGEST)]
    assert elements(large * large) == [(LARGEST, INFINITY)] * 2
    everything = Interval.entire((2,))
    for result in (everything + everything, everything - everything, everything * everything):
        assert elements(result) == [(-INFINITY, INFINITY)] * 2
    assert elements(everything / 2.0) == elements(everything)
    assert elements(1.0 / Interval.between(vector(1.0), INFINITY))[0][0] == 0.0


@pytest.mark.parametrize(
    ("lower", "upper"),
    [(NAN, 1.0), (0.0, NAN), (NAN, NAN), (1.0, 0.0), (INFINITY, INFINITY), (-INFINITY, -INFINITY)],
)
def test_no_interval_has_an_end_that_is_none(lower, upper):
    with pytest.raises(NotABound):
        Interval(vector(0.0, lower), vector(0.0, upper))


@pytest.mark.parametrize("value", [NAN, INFINITY, -INFINITY])
def test_exact_operands_are_numbers(value):
    for make in (
        Interval.exact,
        lambda v: Interval.ball(v, 1.0),
        lambda v: Interval.ball(0.0, -abs(v)),
    ):
        with pytest.raises(NotABound):
            make(vector(1.0, value))
    with pytest.raises(NotABound):
        Interval.exact(vector(1.0)) * vector(value)


def test_only_what_float64_holds_becomes_exact():
    assert Interval.exact(torch.tensor([0.1])).lower.item() == torch.tensor([0.1]).item()
    assert Interval.exact(torch.tensor([2**53])).lower.item() == 2.0**53
    for values in (2**53 + 1, torch.tensor([-(2**53) - 1]), torch.tensor([1j])):
        with pytest.raises(NotABound):
            Interval.exact(values)


def test_bounds_are_float64_of_one_shape():
    with pytest.raises(NotABound):
        Interval(torch.zeros(2), torch.ones(2))
    with pytest.raises(NotABound):
        Interval(vector(0.0), vector(1.0, 2.0))


def test_nan_lies_in_no_interval():
    assert Interval.entire((3,)).contains(vector(NAN, 0.0, -1e308)).tolist() == [False, True, True]


def test_enclosures_of_one_value_that_do_not_meet_are_an_error():
    with pytest.raises(NotABound):
        Interval.exact(1.0).intersection(Interval.exact(2.0))
    both = Interval.between(0.0, 2.0).intersection(Interval.between(1.0, 3.0))
    assert elements(both) == [(1.0, 2.0)]


@given(st.fractions())
def test_rational_constants_are_held(number):
    assert is_inside(number, elements(Interval.of_fraction(number))[0])


def test_tensors_and_numbers_are_operands_from_both_sides():
    x, numbers = Interval.between(vector(1.0, 2.0), vector(3.0, 4.0)), vector(2.0, -1.0)
    for left, right in ((x + numbers, numbers + x), (x * numbers, numbers * x)):
        assert elements(left) == elements(right)
    assert (numbers - x).contains(numbers - vector(1.5, 2.5)).all()
    assert (1.0 / x).contains(1.0 / vector(1.5, 2.5)).all()
    assert (2 - x).contains(2 - vector(1.5, 2.5)).all()


def test_rearranging_moves_both_ends():
    x = Interval.between(torch.arange(6.0).reshape(2, 3), 9.0)
    assert x.rearranged(lambda ends: ends.T[1:]).lower.tolist() == [[1.0, 4.0], [2.0, 5.0]]
    assert concatenate([x, x], 0).shape == (4, 3)
    assert stack([x, x], 0).shape == (2, 2, 3)


def test_flushed_subnormals_are_noticed_before_anything_is_bounded():
    torch.set_flush_denormal(True)
    try:
        with pytest.raises(UnsoundArithmetic):
            require_ieee_arithmetic()
        with pytest.raises(UnsoundArithmetic):
            Interval.exact(1.0)
    finally:
        torch.set_flush_denormal(False)
    require_ieee_threads()


def test_what_would_be_rounded_in_silence_is_refused():
    for values in ([0.1, 2**53 + 1], Fraction(1, 3), "1"):
        with pytest.raises(TypeError):
            Interval.exact(values)
    for exponent in (0.5, 2.0):
        with pytest.raises(TypeError):
            Interval.exact(2.0) ** exponent


def test_numbers_are_compared_as_they_are():
    third = 1.0 / 3.0
    assert Interval.exact(third).contains(third).item()
    assert not Interval.exact(third).contains(math.nextafter(third, 1.0)).item()


@settings(max_examples=60, deadline=None)
@given(x=intervals(bounded=True), divisor=st.floats(allow_nan=False, allow_infinity=False))
def test_quotients_by_one_number_lead_inside(x, divisor):
    if divisor != 0:
        for ends, result in zip(elements(x), elements(x / divisor), strict=True):
            for member in members(*ends):
                assert is_inside(member / Fraction(divisor), result)

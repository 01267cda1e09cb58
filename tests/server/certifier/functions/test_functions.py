"""Enclosures of every function hold its values, its slopes and its difference quotients."""

import itertools
import math

import mpmath
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from mpmath import mpf

from certisolve_server.certifier.arithmetic import Interval, NotABound, OutsideDomain
from certisolve_server.certifier.functions import all_functions, find, find_binary
from exact_members import LARGEST, adversarial_floats
from real_functions import Reference, all_references

DIGITS = 60

# Of the reference itself, relative; a thousand times less than any enclosure is wide.
TOLERANCE = mpf(10) ** -45

floats = st.one_of(
    adversarial_floats, st.floats(-30.0, 30.0), st.floats(-760.0, 760.0), st.floats(-3.0, 3.0)
)


@st.composite
def inputs(draw, reference: Reference, wide: bool = True) -> Interval:
    """An interval of one element in the function's domain; a point, narrow, wide or endless."""
    first = draw(floats)
    width = draw(st.sampled_from([0.0, 1e-12, 0.1, 3.0, abs(draw(floats))]))
    ends = torch.tensor([first, first + width], dtype=torch.float64).clamp(-LARGEST, LARGEST)
    if reference.lower > -math.inf:
        ends = ends.abs().sort().values + reference.lower
        assume(float(ends[0]) > reference.lower)
    if reference.has_pole:
        ends = ends.abs().sort().values * draw(st.sampled_from([1.0, -1.0]))
        assume(float(ends[0]) != 0)
    lower, upper = ends.min()[None], ends.max()[None]
    if wide and draw(st.integers(0, 9)) == 0:
        upper = torch.full_like(upper, math.inf) if lower > 0 or not reference.has_pole else upper
        if reference.lower == -math.inf and not reference.has_pole:
            lower = torch.full_like(lower, -math.inf)
    return Interval(lower, upper)


def sample(x: Interval, reference: Reference) -> list[float]:
    """Floats in x: its ends, some between, and the places where functions tend to turn."""
    lower, upper = max(x.lower.item(), -LARGEST), min(x.upper.item(), LARGEST)
    between = [lower + share * (upper / 2 - lower / 2) * 2 for share in (0.01, 0.3, 0.5, 0.9)]
    turns = [-2.39935728, -1.41421356, -1.278, -0.7519, 0.0, 1.41421356, 1.57079632, 2.39935728]
    turns += [-3.14159265, 3.14159265, 6.28318531, *reference.kinks]
    return [t for t in [lower, upper, *between, *turns] if lower <= t <= upper]


def holds(enclosure: Interval, value: mpf) -> bool:
    """Whether a number lies within, up to the rounding of the reference."""
    slack = abs(value) * TOLERANCE
    lower, upper = enclosure.lower.item(), enclosure.upper.item()
    return bool(mpf(lower) - slack <= value <= mpf(upper) + slack)


@pytest.mark.parametrize("reference", all_references, ids=str)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_values_and_slopes_lie_inside(reference, data):
    x = data.draw(inputs(reference))
    function = find(reference.name, **reference.parameters)
    values, slopes = function.value(x), function.derivative(x)
    with mpmath.workdps(DIGITS):
        for t in sample(x, reference):
            if not (t == 0 and reference.has_pole):
                assert holds(values, mpf(reference.value(mpf(t)))), t
                if t not in reference.kinks:
                    assert holds(slopes, mpf(reference.derivative(mpf(t)))), t


@pytest.mark.parametrize("reference", all_references, ids=str)
@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_difference_quotients_lie_inside(reference, data):
    x = data.draw(inputs(reference))
    slopes = find(reference.name, **reference.parameters).derivative(x)
    points = [t for t in sample(x, reference) if abs(t) < 1e3]
    with mpmath.workdps(400):
        for s, t in itertools.pairwise(points):
            if s != t:
                rise = reference.value(mpf(t)) - reference.value(mpf(s))
                assert holds(slopes, mpf(rise / (mpf(t) - mpf(s)))), (s, t)


@pytest.mark.parametrize("reference", all_references, ids=str)
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_second_derivatives_hold_difference_quotients_of_slopes(reference, data):
    x = data.draw(inputs(reference))
    curvature = find(reference.name, **reference.parameters).second_derivative(x)
    # Changes of slopes between smaller numbers need more digits still.
    points = [t for t in sample(x, reference) if abs(t) < 1e3 and not 0 < abs(t) < 1e-90]
    assert curvature.shape == x.shape
    with mpmath.workdps(400):
        for s, t in itertools.pairwise(points):
            if s != t and not {s, t} & set(reference.kinks):
                rise = reference.derivative(mpf(t)) - reference.derivative(mpf(s))
                assert holds(curvature, mpf(rise / (mpf(t) - mpf(s)))), (s, t)


@pytest.mark.parametrize("reference", all_references, ids=str)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_what_is_computed_at_once_holds_as_well_and_is_as_narrow(reference, data):
    function = find(reference.name, **reference.parameters)
    x = data.draw(inputs(reference, wide=False))
    assume(x.magnitude.item() < 30.0)
    apart = [function.value(x), function.derivative(x), function.second_derivative(x)]
    together = function.jet(x, (0, 1, 2))
    with mpmath.workdps(DIGITS):
        for t in sample(x, reference):
            if t not in reference.kinks:
                assert holds(together[0], mpf(reference.value(mpf(t)))), t
                assert holds(together[1], mpf(reference.derivative(mpf(t)))), t
    for one, other in zip(apart, together, strict=True):
        slack = 1e-10 * (1.0 + one.magnitude.item())
        if math.isfinite(slack):
            assert other.lower.item() == pytest.approx(one.lower.item(), abs=slack)
            assert other.upper.item() == pytest.approx(one.upper.item(), abs=slack)
            assert other.lower.item() <= one.upper.item()


@pytest.mark.parametrize("name", ["relu", "abs", "leaky_relu", "clamp"])
def test_beside_a_kink_a_function_is_straight_and_at_it_nothing_is_known(name):
    parameters = {"minimum": 0.0} if name == "clamp" else {}
    x = Interval.between(torch.tensor([-1.0, -1.0, 0.0, 0.5]), torch.tensor([-0.5, 0.0, 0.5, 1.0]))
    curvature = find(name, **parameters).second_derivative(x)
    assert curvature.upper.tolist() == [0.0, math.inf, math.inf, 0.0]


@pytest.mark.parametrize("reference", all_references, ids=str)
@settings(max_examples=12, deadline=None)
@given(t=st.floats(-30.0, 30.0))
def test_enclosures_of_points_are_narrow(reference, t):
    t = abs(t) + 0.01 + reference.lower if reference.lower > -math.inf else t
    assume(abs(t) > 1e-3 or not reference.has_pole)
    function, x = (
        find(reference.name, **reference.parameters),
        Interval.exact(torch.tensor([t], dtype=torch.float64)),
    )
    assume(t not in reference.kinks)
    for enclosure in (function.value(x), function.derivative(x)):
        width = enclosure.upper.item() - enclosure.lower.item()
        # A bracketed extremum is 2e-13 wide; all else is rounding.
        assert width <= 2e-12 * enclosure.magnitude.item() + 1e-14


@pytest.mark.parametrize(
    ("name", "lower", "upper"),
    [
        ("tanh", 0.0, 1.0),
        ("sigmoid", 0.0, 0.25),
        ("silu", -0.0998393201, 1.0998393201),
        ("gelu_erf", -0.1289041452, 1.1289041452),
        ("gelu_tanh", -0.1289930687, 1.1289930687),
        ("softplus", 0.0, 1.0),
        ("elu", 0.0, 1.0),
        ("sin", -1.0, 1.0),
        ("cos", -1.0, 1.0),
        ("erf", 0.0, 2 / math.sqrt(math.pi)),
        ("relu", 0.0, 1.0),
    ],
)
def test_slopes_of_all_real_numbers_are_those_of_the_literature(name, lower, upper):
    slopes = find(name).derivative(Interval.entire((1,)))
    assert slopes.lower.item() == pytest.approx(lower, abs=1e-10)
    assert slopes.upper.item() == pytest.approx(upper, abs=1e-10)
    assert slopes.lower.item() <= lower + 1e-10
    assert slopes.upper.item() >= upper - 1e-10


def test_the_two_forms_of_gelu_have_slopes_of_their_own():
    everything = Interval.entire((1,))
    by_erf, by_tanh = find("gelu_erf"), find("gelu_tanh")
    assert by_tanh.derivative(everything).upper > by_erf.derivative(everything).upper + 8e-5


@pytest.mark.parametrize("reference", all_references, ids=str)
def test_ranges_of_wide_intervals_are_those_of_dense_samples(reference):
    start = 0.05 + reference.lower if reference.lower > -math.inf else -6.0
    if reference.has_pole:
        start = 0.05
    grid = torch.linspace(start, 7.0, 4001, dtype=torch.float64)
    function = find(reference.name, **reference.parameters)
    whole = Interval.between(grid[:1], grid[-1:])
    for enclose in (function.value, function.derivative):
        of_points = enclose(Interval.exact(grid))
        assert enclose(whole).lower.item() <= of_points.upper.min() + 1e-12
        spread = (of_points.upper.max() - of_points.lower.min()).item()
        missing = max(
            (of_points.lower.min() - enclose(whole).lower).item(),
            (enclose(whole).upper - of_points.upper.max()).item(),
        )
        assert missing <= 1e-3 * spread + 1e-12


@pytest.mark.parametrize("name", ["log", "sqrt", "log1p", "rsqrt", "reciprocal"])
def test_outside_of_its_domain_a_function_is_refused(name):
    function = find(name)
    for lower, upper in ((-2.0, 1.0), (-math.inf, math.inf)):
        x = Interval.between(torch.tensor([1.0, lower]), torch.tensor([1.0, upper]))
        for enclose in (function.value, function.derivative):
            with pytest.raises(OutsideDomain):
                enclose(x)


def test_a_root_is_infinitely_steep_at_zero_and_a_logarithm_has_no_value():
    from_zero = Interval.between(torch.tensor([0.0]), torch.tensor([4.0]))
    slopes = find("sqrt").derivative(from_zero)
    assert slopes.upper.item() == math.inf
    assert slopes.lower.item() == pytest.approx(0.25)
    with pytest.raises(OutsideDomain):
        find("log").value(from_zero)
    with pytest.raises(OutsideDomain):
        find("log1p").derivative(Interval.between(torch.tensor([-3.0]), torch.tensor([-2.0])))


@pytest.mark.parametrize("name", ["maximum", "minimum"])
@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from([-1.0, 0.0, 0.5, 2.0, math.inf]), min_size=4, max_size=4))
def test_slopes_of_the_larger_and_the_smaller_number_hold_difference_quotients(name, ends):
    a, b, c, d = (min(end, 3.0) for end in ends)
    x = Interval.between(torch.tensor([min(a, b)]), max(a, b))
    y = Interval.between(torch.tensor([min(c, d)]), max(c, d))
    function, compute = find_binary(name), {"maximum": max, "minimum": min}[name]
    to_x, to_y = function.derivatives(x, y)
    for s in (a, b, (a + b) / 2):
        for t in (c, d, (c + d) / 2):
            assert function.value(x, y).contains(compute(s, t)).all()
            if a != b:
                assert to_x.contains((compute(a, t) - compute(b, t)) / (a - b)).all()
            if c != d:
                assert to_y.contains((compute(s, c) - compute(s, d)) / (c - d)).all()


def test_at_a_kink_all_slopes_between_both_sides_count():
    zero = Interval.exact(torch.tensor([0.0]))
    for name, lower, upper in (("relu", 0, 1), ("abs", -1, 1), ("leaky_relu", 0.01, 1)):
        slopes = find(name).derivative(zero)
        assert (slopes.lower.item(), slopes.upper.item()) == (lower, upper)
    to_x, to_y = find_binary("maximum").derivatives(zero, zero)
    assert (to_x.lower.item(), to_x.upper.item(), to_y.lower.item()) == (0, 1, 0)


def test_every_function_is_held_against_a_reference():
    assert {reference.name for reference in all_references} == set(all_functions)


def test_what_is_not_known_is_not_found():
    for look_up in (find, find_binary):
        with pytest.raises(KeyError):
            look_up("sign")


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("elu", {"alpha": -1.0}),
        ("elu", {"scale": math.nan}),
        ("softplus", {"beta": 0.0}),
        ("softplus", {"beta": math.inf}),
        ("clamp", {"minimum": 1.0, "maximum": 0.0}),
        ("clamp", {"minimum": math.nan}),
    ],
)
def test_parameters_without_a_proof_are_refused(name, parameters):
    with pytest.raises(ValueError):  # noqa: PT011 - the message names the values
        find(name, **parameters)
    with pytest.raises(TypeError):
        find("power", exponent=0.5)
    with pytest.raises(NotABound):
        find("leaky_relu", negative_slope=math.nan).value(Interval.exact(1.0))

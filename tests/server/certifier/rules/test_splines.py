"""B-spline bases are enclosed with their slopes, and only what is one is taken for one."""

from fractions import Fraction
from types import MappingProxyType

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from certisolve_server.certifier.arithmetic import Interval
from certisolve_server.certifier.errors import PossiblyDiscontinuous
from certisolve_server.certifier.graph.splines import BASIS
from certisolve_server.certifier.prepare import prepare
from certisolve_server.certifier.rules import Abstraction, constant
from certisolve_server.certifier.rules.splines import bspline_basis
from small_networks import Applied, exported

KNOTS = torch.tensor([[-1.0, -0.7, -0.1, 0.0, 0.25, 1.0, 1.5]])


@settings(max_examples=30, deadline=None)
@given(
    degree=st.integers(1, 4),
    ends=st.tuples(st.integers(-400, 400), st.integers(0, 300)),
    parts=st.lists(st.fractions(0, 1, max_denominator=50), min_size=4, max_size=4),
)
def test_values_and_slopes_at_points_of_an_interval_are_enclosed(degree, ends, parts):
    lower = Fraction(ends[0], 256)
    upper = lower + Fraction(ends[1], 256)
    basis = _basis(float(lower), float(upper), degree)
    knots = [Fraction(float(t)) for t in KNOTS[0]]
    for part in parts:
        x = lower + part * (upper - lower)
        for m in range(len(knots) - 1 - degree):
            assert _holds(basis.value, m, _exact_basis(knots, m, degree, x))
            if degree > 1 or x not in knots:
                slope = _exact_slope(knots, m, degree, x)
                assert _holds(basis.jacobian["x"], m, slope)


@pytest.mark.parametrize("degree", [1, 2, 3])
def test_differences_over_an_interval_are_slopes_of_it(degree):
    knots = [Fraction(float(t)) for t in KNOTS[0]]
    for lower, upper in [(-2.0, 3.0), (-0.7, 0.25), (0.0, 0.125), (1.5, 2.0), (-3.0, -1.0)]:
        slopes = _basis(lower, upper, degree).jacobian["x"]
        x, y = Fraction(lower), Fraction(upper)
        for m in range(len(knots) - 1 - degree):
            change = _exact_basis(knots, m, degree, y) - _exact_basis(knots, m, degree, x)
            assert _holds(slopes, m, change / (y - x))


def test_enclosures_shrink_with_the_interval():
    wide, narrow = _basis(0.0, 0.2, 3), _basis(0.1, 0.1 + 2.0**-30, 3)

    assert bool((_width(narrow.value) < 1e-8).all())
    assert bool((_width(narrow.jacobian["x"]) < 1e-7).all())
    assert bool((_width(narrow.value) <= _width(wide.value)).all())


def test_a_basis_written_out_is_recognised():
    graph = prepare(exported(Applied(lambda x: _written_out(x, KNOTS, 3)), (1, 1)), {"x": (1, 1)})

    (node,) = (node for node in graph.nodes if node.operator == BASIS)
    assert node.arguments["degree"] == 3
    assert torch.equal(graph.constants[node.arguments["knots"].name].value.lower, KNOTS.double())


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param({"degree": 0}, id="the indicators alone"),
        pytest.param({"knots": KNOTS.flip(1)}, id="knots that fall"),
        pytest.param({"knots": KNOTS[:, [0, 1, 1, 2, 3, 4, 5]]}, id="knots that meet"),
        pytest.param({"shift": -1}, id="ramps of other knots"),
        pytest.param({"divisor": 1.0000001}, id="divisors that are not the differences"),
        pytest.param({"compare": torch.le}, id="intervals closed on both sides"),
        pytest.param({"offset": 1e-3}, id="comparisons of another number"),
        pytest.param({"sign": -1}, id="halves subtracted"),
    ],
)
def test_what_is_almost_a_basis_is_refused(broken):
    arguments = {"knots": KNOTS, "degree": 3} | broken
    program = exported(Applied(lambda x: _written_out(x, **arguments)), (1, 1))
    with pytest.raises(PossiblyDiscontinuous):
        prepare(program, {"x": (1, 1)})


def _basis(lower: float, upper: float, degree: int) -> Abstraction:
    side = Interval.between(torch.tensor([[[lower]]]).double(), torch.tensor([[[upper]]]).double())
    one = Interval.exact(torch.ones(1, 1, 1, 1, dtype=torch.float64))
    x = Abstraction(side, MappingProxyType({"x": one}))
    return bspline_basis(x, constant(Interval.exact(KNOTS)), degree)


def _holds(enclosure: Interval, m: int, number: Fraction) -> bool:
    lower, upper = enclosure.lower.flatten()[m].item(), enclosure.upper.flatten()[m].item()
    return Fraction(lower) <= number <= Fraction(upper)


def _width(enclosure: Interval) -> torch.Tensor:
    return enclosure.upper - enclosure.lower


def _exact_basis(knots, m, d, x):
    if d == 0:
        return Fraction(knots[m] <= x < knots[m + 1])
    rising = (x - knots[m]) / (knots[m + d] - knots[m])
    falling = (knots[m + d + 1] - x) / (knots[m + d + 1] - knots[m + 1])
    return rising * _exact_basis(knots, m, d - 1, x) + falling * _exact_basis(
        knots, m + 1, d - 1, x
    )


def _exact_slope(knots, m, d, x):
    first = _exact_basis(knots, m, d - 1, x) / (knots[m + d] - knots[m])
    second = _exact_basis(knots, m + 1, d - 1, x) / (knots[m + d + 1] - knots[m + 1])
    return d * (first - second)


def _written_out(x, knots, degree, shift=0, divisor=None, compare=torch.lt, offset=None, sign=1):
    x = x.unsqueeze(2)
    compared = x if offset is None else x + offset
    basis = ((compared >= knots[:, :-1]) & compare(compared, knots[:, 1:])).float()
    for d in range(1, degree + 1):
        rising = (x - knots[:, : -(d + 1)]) / (knots[:, d:-1] - knots[:, : -(d + 1)])
        start = knots[:, 1 + shift : knots.shape[1] - d + shift]
        difference = knots[:, d + 1 :] - start
        falling = (knots[:, d + 1 :] - x) / (difference * divisor if divisor else difference)
        halves = rising * basis[..., :-1], falling * basis[..., 1:]
        basis = halves[0] + halves[1] if sign > 0 else halves[0] - halves[1]
    return basis

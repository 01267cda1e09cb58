"""Lines and planes of any slopes enclose functions and gates, wherever they are looked at."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from certisolve_server.certifier.arithmetic import Interval
from certisolve_server.certifier.errors import NotCertified
from certisolve_server.certifier.functions import all_functions, find
from certisolve_server.certifier.linear.cells import Clip, cells
from certisolve_server.certifier.linear.planes import (
    Range,
    default_lines,
    default_planes,
    lines,
    planes,
)

PARAMETERS = {
    "clamp": {"minimum": -0.7, "maximum": 1.2},
    "power": {"exponent": 3},
    "elu": {"alpha": 0.6},
    "leaky_relu": {"negative_slope": 0.2},
}
POSITIVE = ("log", "reciprocal", "rsqrt", "sqrt")
_SHARES = torch.linspace(0, 1, 41, dtype=torch.float64)
_ROUNDING = 1e-11

centers = st.floats(-6, 6)
radii = st.sampled_from([0.0, 1e-12, 1e-4, 0.3, 2.0, 9.0])


def _function(name):
    return find(name, **PARAMETERS.get(name, {}))


def _places(name, center, radius):
    lower, upper = center - radius, center + radius
    if name in POSITIVE or name == "log1p":
        lower, upper = abs(center) + 0.2, abs(center) + 0.2 + radius
    if name == "exp" or name == "expm1":
        lower, upper = min(lower, 3.0), min(upper, 3.0)
    ends = [torch.tensor([[end]], dtype=torch.float64) for end in (lower, upper)]
    return Interval(*ends), Clip(*(torch.tensor([[e]], dtype=torch.float64) for e in (-9e99, 9e99)))


@settings(max_examples=10, deadline=None)
@given(center=centers, radius=radii, slope=st.floats(-3, 3))
@pytest.mark.parametrize("name", sorted(all_functions))
def test_lines_enclose_values(name, center, radius, slope):
    function = _function(name)
    of = cells(function, *_places(name, center, radius))
    z = of.places.lower + _SHARES * (of.places.upper - of.places.lower)
    value = function.value(Interval.exact(z))
    given_slope = torch.full((1, 1, 1), slope, dtype=torch.float64)
    for pair in [(given_slope, given_slope), default_lines(of)]:
        line = lines(of, *pair)
        above = line.upper_slope[0] * z + line.upper_offset[0]
        below = line.lower_slope[0] * z + line.lower_offset[0]
        slack = _ROUNDING * (1 + value.magnitude + z.abs())
        assert bool((value.lower <= above + slack).all())
        assert bool((value.upper >= below - slack).all())


@settings(max_examples=10, deadline=None)
@given(
    center=centers,
    radius=radii,
    a=st.floats(-3, 3),
    width=st.sampled_from([0.0, 1e-9, 1.0, 7.0]),
    slopes=st.tuples(st.floats(-3, 3), st.floats(-3, 3)),
)
@pytest.mark.parametrize("name", sorted(all_functions))
def test_planes_enclose_gates(name, center, radius, a, width, slopes):
    function = _function(name)
    of = cells(function, *_places(name, center, radius))
    ends = [torch.tensor([[end]], dtype=torch.float64) for end in (a, a + width)]
    box = Range(*ends)
    z = (of.places.lower + _SHARES * (of.places.upper - of.places.lower))[0, :, None]
    factor = (ends[0] + _SHARES * (ends[1] - ends[0]))[0]
    gate = function.derivative(Interval.exact(z)) * Interval.exact(factor)
    given_slopes = tuple(torch.full((1, 1, 1), each, dtype=torch.float64) for each in slopes)
    for pair in [(given_slopes, given_slopes), default_planes(of, box)]:
        plane = planes(of, box, *pair)
        above = plane.upper_p[0] * z + plane.upper_q[0] * factor + plane.upper_offset[0]
        below = plane.lower_p[0] * z + plane.lower_q[0] * factor + plane.lower_offset[0]
        slack = _ROUNDING * (1 + gate.magnitude + z.abs() + factor.abs())
        assert bool((gate.upper <= above + slack + (gate.upper - gate.lower)).all())
        assert bool((gate.lower >= below - slack - (gate.upper - gate.lower)).all())


@pytest.mark.parametrize("name", ["relu", "abs", "clamp", "leaky_relu"])
def test_parts_at_a_kink_keep_the_slopes_of_their_side(name):
    function = _function(name)
    kink = -0.7 if name == "clamp" else 0.0
    below = torch.tensor([[kink - 1.0]], dtype=torch.float64)
    at, far = torch.tensor([[kink]], dtype=torch.float64), torch.tensor([[9.0]]).double()
    left = cells(function, Interval(below, at), Clip(-far, at)).slopes
    right = cells(function, Interval(at, at), Clip(at, far)).slopes
    unclipped = cells(function, Interval(below, at), Clip(-far, far)).slopes
    assert bool((left.upper - left.lower == 0).all() and (right.upper - right.lower == 0).all())
    assert unclipped.upper.item() == max(left.upper.item(), right.upper.item())
    assert unclipped.lower.item() == min(left.lower.item(), right.lower.item())


def test_no_cells_of_what_is_unbounded():
    clip = Clip(torch.zeros(1, 1), torch.zeros(1, 1))
    with pytest.raises(NotCertified, match="unbounded"):
        cells(find("relu"), Interval.entire((1, 1)), clip)
    ends = torch.zeros(1, 1, dtype=torch.float64)
    with pytest.raises(NotCertified):
        cells(find("log"), Interval(ends, ends + 1.0), clip)

"""Sets: boxes around them hold every point of theirs, and nothing is said to be inside unproven."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from certisolve_server.certifier.arithmetic import Interval
from certisolve_server.certifier.errors import InvalidRequest
from certisolve_server.certifier.norms import Norms
from certisolve_server.certifier.prepare import prepare
from certisolve_server.certifier.problem import Flow, Problem
from certisolve_server.certifier.region import Ball, Box, Everything, contains, hull
from small_networks import exported

GRAPH = prepare(exported(nn.Linear(3, 2), (1, 3)), {"x": (1, 3)})


def at(*numbers: float) -> dict[str, torch.Tensor]:
    return {"x": torch.tensor([numbers], dtype=torch.float64)}


@pytest.mark.parametrize("norm", ["l1", "l2", "linf"])
@given(seed=st.integers(0, 2**32), exponent=st.integers(-30, 30))
def test_the_box_around_a_ball_holds_it(norm, seed, exponent):
    generator = torch.Generator().manual_seed(seed)
    center = torch.randn(1, 3, generator=generator, dtype=torch.float64)
    radius = 2.0**exponent * 0.3
    region = Ball({"x": center}, radius, norm)
    sides = hull(region, GRAPH).sides["x"]
    # A step of exactly the radius along an axis, in exact arithmetic.
    for sign in (-1.0, 1.0):
        step = Interval.exact(center) + Interval.exact(
            torch.tensor([sign * radius], dtype=torch.float64)
        )
        assert bool(((sides.lower <= step.upper) & (step.lower <= sides.upper)).all())
    direction = torch.randn(1, 3, generator=generator, dtype=torch.float64)
    order = {"l1": 1, "l2": 2, "linf": math.inf}[norm]
    point = center + direction * (0.999 * radius / torch.linalg.vector_norm(direction, order))
    assert bool(((sides.lower <= point) & (point <= sides.upper)).all())
    assert contains(region, GRAPH, {"x": point}) or radius < 1e-12


def test_a_ball_stays_within_its_limits():
    region = Ball(at(0, 0, 0), 1.0, "l2", Box(at(-2, 0, -0.5), at(2, 2, 0.5)))
    sides = hull(region, GRAPH).sides["x"]
    assert sides.lower[0, 0, 1] == 0
    assert sides.upper[0, 0, 2] == 0.5
    assert contains(region, GRAPH, at(0.5, 0.5, 0.5))
    assert not contains(region, GRAPH, at(0.5, -0.1, 0.0))
    assert not contains(region, GRAPH, at(0.9, 0.9, 0.0))


def test_what_is_close_to_the_edge_is_not_said_to_be_inside():
    assert not contains(Ball(at(0, 0, 0), 1.0, "linf"), GRAPH, at(1.0 + 2**-52, 0, 0))
    assert contains(Box(at(0, 0, 0), at(1, 1, 1)), GRAPH, at(1, 0, 1))
    assert contains(Everything(), GRAPH, at(1e300, 0, 0))
    assert not contains(Everything(), GRAPH, at(math.nan, 0, 0))


@pytest.mark.parametrize("radius", [-1.0, math.nan, math.inf])
def test_radii_that_are_none_are_refused(radius):
    with pytest.raises(InvalidRequest, match="radius"):
        Ball(at(0, 0, 0), radius, "l2")


def test_a_center_outside_of_its_limits_is_refused():
    with pytest.raises(InvalidRequest, match="outside"):
        hull(Ball(at(0, 0, 0), 1.0, "l2", Box(at(1, 1, 1), at(2, 2, 2))), GRAPH)


@pytest.mark.parametrize("duration", [-1.0, math.nan, math.inf])
def test_durations_that_are_none_are_refused(duration):
    with pytest.raises(InvalidRequest, match="duration"):
        Flow(GRAPH, duration)


def test_everything_has_no_box():
    assert Problem(GRAPH, Everything(), Norms("l2", "l2")).boxes is None


@pytest.mark.parametrize("weight", [0.0, -1.0])
def test_weights_are_above_0(weight):
    with pytest.raises(InvalidRequest, match="above 0"):
        Norms("l2", "l2", Interval.exact(torch.tensor([weight, 1.0]).double()))


def test_weights_measure_in_other_units():
    jacobian = Interval.exact(torch.tensor([[[1.0, 10.0]]], dtype=torch.float64))
    weights = Interval.exact(torch.tensor([1.0, 10.0]).double())
    assert float(Norms("linf", "linf", weights).bound(jacobian)) == pytest.approx(2.0)
    outputs = Interval.exact(torch.tensor([3.0]).double())
    assert float(Norms("linf", "linf", None, outputs).bound(jacobian)) >= 33.0

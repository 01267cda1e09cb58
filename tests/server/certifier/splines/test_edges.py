"""Ranges of spline edges hold every sample, are as narrow as samples allow, and end nowhere."""

import math

import numpy as np
import pytest
import torch
from scipy.interpolate import BSpline
from torch import nn
from torch.nn import functional

from certisolve_server.certifier.arithmetic import Interval
from certisolve_server.certifier.domain import box
from certisolve_server.certifier.graph.edges import EDGES
from certisolve_server.certifier.methods.mean_value import enclose
from certisolve_server.certifier.prepare import prepare
from certisolve_server.certifier.splines import SplineEdges
from certisolve_server.certifier.splines.quadratics import quadratic_range
from certisolve_server.certifier.splines.running import RangeTable
from small_networks import bundled, exported

INPUTS, OUTPUTS = 2, 3


def edges(degree, seed=0, cells=9):
    """Coefficients of very different sizes on uneven knots."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    knots = (draw(INPUTS, cells + 1).abs() + 0.05).cumsum(1) - 3.0
    coefficients = draw(INPUTS, cells - degree, OUTPUTS) * 10 ** draw(1, 1, OUTPUTS)
    return knots, coefficients, draw(INPUTS, OUTPUTS)


def sampled(knots, coefficients, base, degree, i, o, order, x):
    """A derivative of one edge function at points, in plain float64."""
    inner = knots[i].numpy()
    steps = np.arange(1, degree + 1)
    outer = np.concatenate([inner[0] - steps[::-1], inner, inner[-1] + steps])
    zeros = np.zeros(degree)
    padded = BSpline(outer, np.concatenate([zeros, coefficients[i, :, o].numpy(), zeros]), degree)
    inside = (x >= inner[0]) & (x <= inner[-1])
    values = np.where(inside, padded(np.clip(x, inner[0], inner[-1]), order), 0.0)
    t = torch.from_numpy(x.copy()).requires_grad_()
    silu = functional.silu(t)
    for _ in range(order):
        (silu,) = torch.autograd.grad(silu.sum(), t, create_graph=True)
    return values + base[i, o].item() * silu.detach().numpy()


@pytest.mark.parametrize("degree", [1, 2, 3])
def test_ranges_hold_samples_and_are_narrow(degree):
    knots, coefficients, base = edges(degree, seed=degree)
    functions = SplineEdges(knots, coefficients, base, degree)
    generator = torch.Generator().manual_seed(3)
    for width in (0.0, 1e-9, 0.02, 0.5, 3.0, 40.0):
        lower = torch.rand(6, INPUTS, 1, generator=generator, dtype=torch.float64) * 14 - 5
        x = Interval.between(lower, lower + width)
        orders = (0, 1, 2) if degree > 1 else (0, 1)
        for order, found in zip(orders, functions.jet(x, orders), strict=True):
            assert found.shape == (6, INPUTS, OUTPUTS)
            _assert_tight(found, x, (knots, coefficients, base, degree), order, width)


def _assert_tight(found, x, parts, order, width):
    knots, degree = parts[0], parts[3]
    for b, i, o in np.ndindex(*found.shape):
        points = np.linspace(x.lower[b, i, 0].item(), x.upper[b, i, 0].item(), 2001)
        # Where a derivative jumps, scipy takes one side of it.
        points = points[~np.isin(points, knots[i].numpy())] if order == degree else points
        values = sampled(*parts, i, o, order, points)
        low, high = found.lower[b, i, o].item(), found.upper[b, i, o].item()
        size = parts[1][i, :, o].abs().max().item() * 100 + 1
        assert low <= values.min() + 1e-11 * size
        assert high >= values.max() - 1e-11 * size
        room = (0.02 * (values.max() - values.min()) if width else 0.0) + 1e-11 * size
        # Of long intervals, samples miss the extremes; of splines that jump, more so.
        room += (0.02 if order < degree else 0.2) * size * min(width, 1.0) ** 2
        # The second derivatives of both parts are bounded apart.
        room += parts[2][i, o].abs().item() * 0.45 * min(width, 1.0) * (order == 2)
        assert low >= values.min() - room
        assert high <= values.max() + room


def test_beyond_the_knots_the_base_alone_is_left():
    knots, coefficients, base = edges(3)
    functions = SplineEdges(knots, coefficients, base, 3)
    far = torch.tensor([[[30.0], [30.0]], [[-math.inf], [-math.inf]]], dtype=torch.float64)
    near = torch.tensor([[[math.inf], [math.inf]], [[-20.0], [-20.0]]], dtype=torch.float64)
    value, slope, curvature = functions.jet(Interval(far, near))

    assert torch.allclose(slope.lower[0], base, rtol=1e-9)
    assert torch.allclose(slope.upper[0], base, rtol=1e-9)
    for found in (value, slope, curvature):
        assert found.magnitude[1].max() < 1e-6
    assert bool((value.magnitude[0] == math.inf).all())
    assert curvature.magnitude[0].max() < 1e-6


def test_of_all_numbers_slopes_are_finite_and_hold_samples():
    parts = (*edges(3), 3)
    slope = SplineEdges(*parts).derivative(Interval.entire((1, INPUTS, 1)))
    assert bool(slope.magnitude.isfinite().all())
    points = np.linspace(-20, 20, 40001)
    for i, o in np.ndindex(INPUTS, OUTPUTS):
        values = sampled(*parts, i, o, 1, points)
        size = values.max() - values.min()
        assert slope.lower[0, i, o] <= values.min() <= slope.lower[0, i, o] + 1e-2 * size
        assert slope.upper[0, i, o] - 1e-2 * size <= values.max() <= slope.upper[0, i, o] + 1e-9


def test_splines_of_higher_degree_have_no_closed_form():
    with pytest.raises(ValueError, match="degree"):
        SplineEdges(*edges(4), degree=4)


def test_quadratics_reach_their_ranges():
    generator = torch.Generator().manual_seed(0)
    a, b, c = torch.randn(3, 4000, generator=generator, dtype=torch.float64)
    c[::10] = 0.0
    r = torch.rand(4000, generator=generator, dtype=torch.float64) * 2
    lower, upper = quadratic_range(a, b, c, r, torch.zeros(4000, dtype=torch.float64))
    d = torch.linspace(-1, 1, 401, dtype=torch.float64)[:, None] * r
    values = a + b * d + c * d * d
    assert bool(((lower <= values.amin(0)) & (values.amax(0) <= upper)).all())
    assert (values.amin(0) - lower).max() < 1e-3
    assert (upper - values.amax(0)).max() < 1e-3


def test_an_endless_quadratic_has_no_bounds():
    one = torch.ones(1, dtype=torch.float64)
    lower, upper = quadratic_range(one, one, one, one * math.inf, one * 0)
    assert (lower.item(), upper.item()) == (-math.inf, math.inf)


def test_tables_give_the_range_of_any_run():
    generator = torch.Generator().manual_seed(1)
    lower = torch.randn(2, 13, generator=generator, dtype=torch.float64)
    table = RangeTable(lower, lower + 1)
    for first in range(13):
        for last in range(first, 13):
            low, high = table.hull(torch.full((2, 1), first), torch.full((2, 1), last))
            run = lower[:, first : last + 1]
            assert torch.equal(low[:, 0], run.amin(1))
            assert torch.equal(high[:, 0], run.amax(1) + 1)


@pytest.mark.parametrize(
    ("name", "names"),
    [("kan-formula", ("variables_0", "variables_1")), ("kan-friction", ("reynolds", "roughness"))],
)
def test_layers_of_bundled_models_are_recognised(name, names):
    graph = prepare(bundled(name), dict.fromkeys(names, (1, 2)))
    operators = [node.operator for node in graph.nodes]
    assert operators.count(EDGES) == 2
    assert "aten.mm.default" not in operators
    assert "aten.silu.default" not in operators


class Layer(nn.Module):
    """A layer of edges as programs write it; `twist` makes it something else."""

    def __init__(self, twist=""):
        super().__init__()
        generator = torch.Generator().manual_seed(2)
        self.twist = twist
        knots = torch.linspace(-1.5, 1.5, 11).expand(2, -1).clone()
        self.register_buffer("knots", knots)
        self.coefficients = nn.Parameter(torch.randn(2, 7, 3, generator=generator))
        self.base = nn.Parameter(torch.randn(2, 3, generator=generator))

    def forward(self, x):
        t, column = self.knots, x.unsqueeze(2)
        bases = ((column >= t[:, :-1]) & (column < t[:, 1:])).to(x.dtype)
        for d in range(1, 4):
            rising = (column - t[:, : -d - 1]) / (t[:, d:-1] - t[:, : -d - 1])
            falling = (t[:, d + 1 :] - column) / (t[:, d + 1 :] - t[:, 1:-d])
            bases = rising * bases[..., :-1] + falling * bases[..., 1:]
        splines = torch.mm(bases.flatten(1), self.coefficients.flatten(0, 1))
        if self.twist == "no base":
            return splines
        beside = functional.silu(x.flip(1) if self.twist == "flipped" else x)
        scale = 2 if self.twist == "scaled" else 1
        return torch.addmm(splines, beside, self.base, beta=scale)


@pytest.mark.parametrize("twist", ["", "no base", "flipped", "scaled"])
def test_what_is_put_in_place_of_a_layer_is_the_same_map(twist):
    net = Layer(twist)
    graph = prepare(exported(net, (4, 2)), {"x": (4, 2)})
    whole = {"": 1, "no base": 1, "flipped": 1, "scaled": 1}[twist]
    assert [node.operator for node in graph.nodes].count(EDGES) == whole
    generator = torch.Generator().manual_seed(5)
    x = torch.rand(4, 2, generator=generator) * 4 - 2
    found = enclose(graph, box(graph, {"x": x}, {"x": x}))
    exact = net.double()
    exact.knots = exact.knots.double()
    expected = exact(x.double()).detach()
    assert bool((found.value.lower[0] <= expected + 1e-9).all())
    assert bool((found.value.upper[0] >= expected - 1e-9).all())
    assert (found.value.upper - found.value.lower).max() < 1e-8

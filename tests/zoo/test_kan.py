import pytest
import torch
from scipy.interpolate import BSpline

from certisolve_zoo.kan.network import Kan, KanLayer
from certisolve_zoo.kan.range_check import KnotExcess
from certisolve_zoo.kan.splines import bspline_bases, fit_coefficients, uniform_knots
from certisolve_zoo.records import WEIGHTS, load_model
from certisolve_zoo.specs import kan_formula, kan_friction


@pytest.fixture
def knots():
    ends = torch.tensor([-1.0, 0.0]).double(), torch.tensor([1.0, 3.0]).double()
    return uniform_knots(*ends, num_intervals=7)


def _inside(num_samples):
    fractions = torch.linspace(0, 1, num_samples).double()[:, None]
    return torch.cat([2 * fractions - 1, 3 * fractions], dim=1)


def test_bases_sum_to_one_on_the_box_with_its_ends(knots):
    total = bspline_bases(_inside(501), knots).sum(dim=2)
    torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=1e-14)


def test_bases_equal_those_of_scipy(knots):
    x = _inside(101)[:-1]
    for channel in range(2):
        expected = BSpline.design_matrix(x[:, channel].numpy(), knots[channel].numpy(), 3).toarray()
        bases = bspline_bases(x, knots)[:, channel]
        torch.testing.assert_close(bases, torch.from_numpy(expected), rtol=0, atol=1e-13)


def test_bases_vanish_outside_the_continued_knots(knots):
    outside = torch.tensor([[-9.0, -9.0], [9.0, 9.0]]).double()
    assert float(bspline_bases(outside, knots).abs().max()) == 0.0


def test_fitting_reproduces_cubic_polynomials(knots):
    x = _inside(200)
    values = torch.stack([x**3 - x, 2 * x**2 + 1], dim=2)
    coefficients = fit_coefficients(x, values, knots)
    fitted = torch.einsum("scb,cbo->sco", bspline_bases(x, knots), coefficients)
    torch.testing.assert_close(fitted, values, rtol=0, atol=1e-11)


def test_refinement_on_nested_grids_preserves_the_function():
    coarse = KanLayer(2, 3, 5).double()
    fine = coarse.regrid(20, *coarse.box)
    x = 2 * torch.rand(300, 2).double() - 1
    # Knots were made in float32: the grids are nested to its rounding only.
    torch.testing.assert_close(fine(x), coarse(x), rtol=0, atol=1e-8)


def test_refining_a_network_changes_it_little_and_boxes_its_activations():
    network = Kan((2, 4, 1), 6).double()
    variables = 2 * torch.rand(2, 1, 2000).double() - 1
    refined = network.refined(60, *variables)
    assert (refined.knot_excess(*variables) <= 0).all()
    # Hidden grids move, so that old knots fall between new ones: fourth order in the spacing.
    torch.testing.assert_close(refined(*variables), network(*variables), rtol=0, atol=1e-2)


@pytest.fixture(params=(kan_formula.SPEC, kan_friction.SPEC), ids=lambda spec: spec.name)
def trained(request):
    spec = request.param
    return load_model(spec, WEIGHTS), spec


def _corners_and_lattice(spec):
    """All pairs of values within the limits of the inputs, which are far apart for pipes."""
    axes = []
    for tensor in spec.inputs:
        lower, upper = tensor.minimum, tensor.maximum
        even = torch.linspace(0, 1, 101, dtype=torch.float64)
        decades = torch.logspace(-9, 0, 101, dtype=torch.float64)
        axes.append(torch.cat([even, decades]).mul(upper - lower).add(lower).float())
    return torch.cartesian_prod(*axes).T[:, None]


def test_trained_networks_keep_their_activations_inside_their_grids(trained):
    network, spec = trained
    assert (network.knot_excess(*_corners_and_lattice(spec)) <= 0).all()


def test_the_check_sees_points_outside_the_grid_box_of_the_inputs(trained):
    network, spec = trained
    inside = spec.examples(3)[0]
    first, second = inside
    outside = first.clone()
    outside[1, 0] = 2 * spec.inputs[0].maximum
    check = spec.checks.module(network)
    excess = [check(x, second, network(x, second)) for x in (first, outside)]
    assert (excess[0] <= 0).all()
    assert ((excess[1] > 0) == torch.tensor([False, True, False])).all()


def test_the_excess_is_relative_to_the_width_of_the_box():
    network = Kan((2, 1, 1), 4).double()
    x = torch.tensor([[0.0, 1.5], [0.0, 1.0]]).double()
    excess = network.knot_excess(x, torch.zeros_like(x)).detach()
    assert float(excess[0]) >= 0.25
    # Hidden activations of an untrained network are small: only the inputs count.
    assert float(excess[1]) == pytest.approx(0.0, abs=1e-7)


def test_networks_without_splines_have_no_boxes():
    with pytest.raises(TypeError, match="Linear"):
        KnotExcess(torch.nn.Linear(2, 1))

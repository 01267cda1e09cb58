import pytest
import torch
from scipy.interpolate import BSpline

from certisolve_zoo.kan.network import Kan, KanLayer
from certisolve_zoo.kan.splines import bspline_bases, fit_coefficients, uniform_knots
from certisolve_zoo.records import WEIGHTS, load_model
from certisolve_zoo.specs.kan_formula import SPEC


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
    assert refined.excess(*variables) <= 0
    # Hidden grids move, so that old knots fall between new ones: fourth order in the spacing.
    torch.testing.assert_close(refined(*variables), network(*variables), rtol=0, atol=1e-2)


def test_the_trained_network_keeps_its_activations_inside_its_grids():
    axis = torch.linspace(-1, 1, 201)
    corners = torch.cartesian_prod(axis, axis).T[:, None]
    assert load_model(SPEC, WEIGHTS).excess(*corners) <= 0

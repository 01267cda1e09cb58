import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from certisolve_zoo.pdes.explicit_friction import fixed_point, haaland, serghides, swamee_jain
from certisolve_zoo.pdes.friction import (
    colebrook_defect,
    friction_factor,
    newton_friction_factor,
)

reynolds = st.floats(np.log(4e3), np.log(1e8)).map(np.exp)
roughness = st.one_of(st.just(0.0), st.floats(1e-7, 0.05))


# Read off tables of Moody's diagram.
@pytest.mark.parametrize(
    ("re", "epsilon", "tabulated"),
    [
        (1e4, 0.0, 0.0309),
        (1e5, 0.0, 0.0180),
        (1e6, 0.0, 0.0116),
        (1e5, 0.001, 0.0222),
        (1e5, 0.01, 0.0385),
        (1e8, 0.001, 0.0196),
        (1e8, 0.01, 0.0379),
        (1e8, 0.05, 0.0716),
    ],
)
def test_tabulated_values_are_met(re, epsilon, tabulated):
    assert friction_factor(np.array(re), np.array(epsilon)) == pytest.approx(tabulated, abs=1e-4)


@given(reynolds, roughness)
def test_colebrooks_law_holds_to_rounding(re, epsilon):
    re, epsilon = np.array([re]), np.array([epsilon])
    factor = friction_factor(re, epsilon)
    np.testing.assert_allclose(colebrook_defect(factor, re, epsilon), 0.0, atol=1e-14)


@given(reynolds, roughness)
def test_newtons_method_agrees(re, epsilon):
    re, epsilon = np.array([re]), np.array([epsilon])
    exact = friction_factor(re, epsilon)
    for num_iterations, tolerance in ((0, 0.015), (1, 1e-5), (2, 1e-11), (3, 1e-14)):
        factor = newton_friction_factor(re, epsilon, num_iterations=num_iterations)
        np.testing.assert_allclose(factor, exact, rtol=tolerance)


@given(reynolds, roughness)
def test_explicit_formulas_are_as_good_as_they_say(re, epsilon):
    re, epsilon = np.array([re]), np.array([epsilon])
    exact = friction_factor(re, epsilon)
    for formula, tolerance in ((haaland, 0.015), (swamee_jain, 0.035), (serghides, 4e-5)):
        np.testing.assert_allclose(formula(re, epsilon), exact, rtol=tolerance)


@given(reynolds, roughness)
def test_fixed_point_iterations_gain_a_digit_each(re, epsilon):
    re, epsilon = np.array([re]), np.array([epsilon])
    exact = friction_factor(re, epsilon)
    for num_iterations in range(5):
        factor = fixed_point(re, epsilon, num_iterations=num_iterations)
        # The law's right side changes with 1/√f by less than a quarter of what that changes.
        np.testing.assert_allclose(factor, exact, rtol=0.015 * 0.25**num_iterations)


@given(reynolds, roughness)
def test_friction_falls_with_speed_and_grows_with_roughness(re, epsilon):
    def factor(re, epsilon):
        return friction_factor(np.array([re]), np.array([epsilon]))

    assert factor(1.1 * re, epsilon) < factor(re, epsilon)
    assert factor(re, 1.1 * epsilon + 1e-6) > factor(re, epsilon)


def test_fully_rough_flow_forgets_the_reynolds_number():
    limit = (2 * np.log10(3.7 / 0.02)) ** -2.0
    assert friction_factor(np.array(1e15), np.array(0.02)) == pytest.approx(limit, rel=1e-9)

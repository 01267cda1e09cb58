"""Integrals are exact afterwards, boundaries hold, and ensembles become a mean and a deviation."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from certisolve.manifest import Axis, Postprocess
from certisolve_server.engines.postprocess import Outputs, postprocesses
from family_models import members, members_manifest, moved_mean, spec
from helpers import field_manifest

RNG = np.random.default_rng(3)
CONVENTIONS = ("periodic", "nodes", "cells")
#: Of float64 sums over some hundred values.
ROUNDING = 1e-12


def plane(postprocess, convention="nodes", axes=("y", "x")):
    """The manifest of a field on a rectangle of 3 by 2."""
    return field_manifest(
        "plane",
        axes={
            "y": Axis(kind="grid", lower=-1.0, upper=2.0, convention=convention),
            "x": Axis(kind="grid", lower=0.0, upper=2.0, convention=convention),
            "component": Axis(kind="channel", size=2),
        },
        inputs=(spec("u0", axes),),
        outputs=(spec("u", axes), spec("u_std", axes)),
        resolutions=(replace(field_manifest("m").resolutions[0], sizes={"y": 5, "x": 7}),),
        postprocess=(postprocess,),
    )


def apply(manifest, fields, inputs=None):
    [each] = postprocesses(manifest)
    given = {name: torch.as_tensor(field) for name, field in fields.items()}
    kept = {name: field.clone() for name, field in given.items()}
    inputs = {name: torch.as_tensor(field) for name, field in (inputs or {}).items()}
    returned = each(Outputs(given, {}), inputs)
    for name, field in given.items():  # which stay as they are
        torch.testing.assert_close(field, kept[name], rtol=0, atol=0, equal_nan=True)
    return returned


def integral(field, convention):
    """By the textbook: rectangles, or trapezoids between nodes."""
    if convention == "nodes":
        rows = np.trapezoid(field, dx=2.0 / (field.shape[2] - 1), axis=2)
        return np.trapezoid(rows, dx=3.0 / (field.shape[1] - 1), axis=1)
    return field.mean(axis=(1, 2)) * 6.0


def conserve(**options):
    return Postprocess(kind="conserve", output="u", **options)


# --- conserve -------------------------------------------------------------------------------------


@pytest.mark.parametrize("deviation", [None, "u_std"])
@pytest.mark.parametrize("convention", CONVENTIONS)
def test_the_integral_of_the_input_is_kept(convention, deviation):
    u, u0 = RNG.normal(size=(2, 3, 5, 7))
    std = RNG.uniform(0.1, 1.0, (3, 5, 7))
    manifest = plane(conserve(integral_of="u0", deviation=deviation), convention)
    returned = apply(manifest, {"u": u, "u_std": std}, {"u0": u0})
    kept = integral(returned.fields["u"].numpy(), convention)
    np.testing.assert_allclose(kept, integral(u0, convention), rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_a_known_integral_is_reached_in_one_dimension(convention):
    axis = Axis(kind="grid", lower=0.0, upper=4.0, convention=convention)
    manifest = field_manifest("line", axes={"x": axis}, postprocess=(conserve(value=7.0),))
    u = apply(manifest, {"u": RNG.normal(size=(2, 16))}).fields["u"].numpy()
    found = np.trapezoid(u, dx=4 / 15) if convention == "nodes" else 4 * u.mean(axis=1)
    np.testing.assert_allclose(found, 7.0, atol=ROUNDING)


def dense(u, std, weights, value):
    """ProbConserv as it is written, with whole matrices (Hansen et al., 2023, eq. 8)."""
    g, sigma = weights.reshape(1, -1), np.diag(std.ravel() ** 2)
    gain = sigma @ g.T @ np.linalg.inv(g @ sigma @ g.T)
    mean = u.ravel() - gain @ (g @ u.ravel() - value)
    return mean.reshape(u.shape), np.sqrt(np.diag(sigma - gain @ g @ sigma)).reshape(u.shape)


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_mean_and_deviation_are_those_of_the_dense_formula(convention):
    u, std = RNG.normal(size=(2, 5, 7)), RNG.uniform(0.1, 1.0, (2, 5, 7))
    manifest = plane(conserve(value=2.5, deviation="u_std"), convention)
    returned = apply(manifest, {"u": u, "u_std": std})
    unit = np.eye(35).reshape(35, 5, 7)
    weights = integral(unit, convention)
    for row in range(2):
        mean, left = dense(u[row], std[row], weights, 2.5)
        np.testing.assert_allclose(returned.fields["u"][row].numpy(), mean, atol=ROUNDING)
        np.testing.assert_allclose(returned.fields["u_std"][row].numpy(), left, atol=ROUNDING)


def test_where_the_model_is_certain_nothing_moves():
    u, std = RNG.normal(size=(1, 5, 7)), np.zeros((1, 5, 7))
    std[0, 2, 3] = 1.0
    manifest = plane(conserve(value=9.0, deviation="u_std"))
    moved = apply(manifest, {"u": u, "u_std": std}).fields["u"].numpy() != u
    assert np.argwhere(moved).tolist() == [[0, 2, 3]]


def test_nobody_is_moved_where_all_are_certain_and_the_defect_is_told():
    u = RNG.normal(size=(1, 5, 7))
    manifest = plane(conserve(value=9.0, deviation="u_std"))
    returned = apply(manifest, {"u": u, "u_std": np.zeros((1, 5, 7))})
    np.testing.assert_array_equal(returned.fields["u"].numpy(), u)
    np.testing.assert_array_equal(returned.fields["u_std"].numpy(), 0.0)
    assert returned.findings["conservation_defect"] > 0


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_what_is_right_stays_as_it_is(convention):
    u = RNG.normal(size=(2, 5, 7))
    manifest = plane(conserve(integral_of="u0"), convention)
    returned = apply(manifest, {"u": u}, {"u0": u[:, ::-1, ::-1].copy()})  # weights are symmetric
    np.testing.assert_allclose(returned.fields["u"].numpy(), u, atol=ROUNDING)
    np.testing.assert_allclose(returned.findings["conservation_defect"].numpy(), 0, atol=ROUNDING)


def test_the_defect_is_that_of_the_prediction_relative_to_its_size():
    u = np.ones((2, 5, 7))
    u[1] *= 1000
    returned = apply(plane(conserve(value=5.4)), {"u": u})  # the integral of 1 is 6
    defect = returned.findings["conservation_defect"].numpy()
    np.testing.assert_allclose(defect, [0.1, (6000 - 5.4) / 6000], rtol=1e-12)


def test_of_a_prediction_of_nothing_everything_is_missing():
    returned = apply(plane(conserve(value=5.0)), {"u": np.zeros((1, 5, 7))})
    assert returned.findings["conservation_defect"] == pytest.approx(1.0)
    nothing = apply(plane(conserve(value=0.0)), {"u": np.zeros((1, 5, 7))})
    assert nothing.findings["conservation_defect"] == 0.0


def test_of_two_projections_the_larger_defect_is_told():
    manifest = plane(conserve(value=3.0))
    second = Postprocess(kind="conserve", output="u_std", value=0.0)
    manifest = replace(manifest, postprocess=(*manifest.postprocess, second))
    outputs = Outputs(dict.fromkeys(("u", "u_std"), torch.ones(1, 5, 7)), {})
    for each in postprocesses(manifest):
        outputs = each(outputs, {})
    assert outputs.findings["conservation_defect"].item() == pytest.approx(1.0)


def test_rows_do_not_know_each_other():
    u = RNG.normal(size=(3, 5, 7))
    u[1] = np.nan
    manifest = plane(conserve(value=1.0))
    together = apply(manifest, {"u": u}).fields["u"].numpy()
    alone = apply(manifest, {"u": u[2:]}).fields["u"].numpy()
    np.testing.assert_array_equal(together[2], alone[0])
    assert np.isnan(together[1]).all()


def test_an_element_type_is_kept():
    returned = apply(plane(conserve(value=1.0)), {"u": RNG.normal(size=(1, 5, 7)).astype("f4")})
    assert returned.fields["u"].dtype == torch.float32


# --- ensemble -------------------------------------------------------------------------------------


@given(st.integers(2, 6), st.floats(0.1, 10))
def test_members_become_their_mean_and_calibrated_deviation(num_members, calibration):
    fields = RNG.normal(size=(2, num_members, 5, 7))
    spread = Postprocess(kind="ensemble", output="u", deviation="u_std", calibration=calibration)
    returned = apply(plane(spread), {"u": fields}).fields
    np.testing.assert_allclose(returned["u"].numpy(), fields.mean(axis=1), atol=ROUNDING)
    expected = calibration * fields.std(axis=1, ddof=1)
    np.testing.assert_allclose(returned["u_std"].numpy(), expected, atol=ROUNDING)


def test_an_ensemble_is_projected_by_its_own_deviation():
    u0 = torch.rand(2, 16)
    outputs = Outputs({"u": members(u0)}, {})
    for each in postprocesses(members_manifest()):
        outputs = each(outputs, {"u0": u0})
    mean, deviation = moved_mean(u0)
    # Members are of float32.
    torch.testing.assert_close(outputs.fields["u"], mean, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(outputs.fields["u_std"], deviation, rtol=1e-5, atol=1e-6)


# --- Boundaries -----------------------------------------------------------------------------------

WALLS = Postprocess(kind="dirichlet", output="u", value=1.5)
SEAMS = Postprocess(kind="periodic", output="u")
INSIDE = (slice(None), slice(1, -1), slice(1, -1))


@pytest.mark.parametrize("axes", [("y", "x"), ("y", "x", "component")])
def test_values_on_walls_are_set_and_others_stay(axes):
    u = RNG.normal(size=(2, 5, 7, *(2 for _ in axes[2:])))
    walled = apply(plane(WALLS, axes=axes), {"u": u}).fields["u"].numpy()
    np.testing.assert_array_equal(walled[INSIDE], u[INSIDE])
    for side in (walled[:, 0], walled[:, -1], walled[:, :, 0], walled[:, :, -1]):
        np.testing.assert_array_equal(side, 1.5)


@pytest.mark.parametrize("axes", [("y", "x"), ("y", "x", "component")])
def test_both_sides_of_a_seam_are_the_mean_of_what_they_were(axes):
    u = RNG.normal(size=(2, 5, 7, *(2 for _ in axes[2:])))
    closed = apply(plane(SEAMS, axes=axes), {"u": u}).fields["u"].numpy()
    np.testing.assert_array_equal(closed[INSIDE], u[INSIDE])
    np.testing.assert_array_equal(closed[:, 0], closed[:, -1])
    np.testing.assert_array_equal(closed[:, :, 0], closed[:, :, -1])
    inner = (u[:, 0, 1:-1] + u[:, -1, 1:-1]) / 2
    np.testing.assert_allclose(closed[:, 0, 1:-1], inner, atol=ROUNDING)
    corners = u[:, [0, 0, -1, -1], [0, -1, 0, -1]].mean(axis=1)
    np.testing.assert_allclose(closed[:, 0, 0], corners, atol=ROUNDING)


def test_post_processors_run_in_the_order_of_the_manifest():
    def field(*order):
        outputs = Outputs({"u": torch.ones(1, 5, 7, dtype=torch.float64)}, {})
        for each in postprocesses(replace(plane(WALLS), postprocess=order)):
            outputs = each(outputs, {})
        return outputs.fields["u"].numpy()

    walls_last, integral_last = field(conserve(), WALLS), field(WALLS, conserve())
    np.testing.assert_array_equal(walls_last[:, 0], 1.5)
    np.testing.assert_allclose(integral(integral_last, "nodes"), 0.0, atol=ROUNDING)
    assert abs(integral(walls_last, "nodes")) > 1

"""A request is admitted in its manifest's terms or refused with a code and the field at fault."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from certisolve import wire
from certisolve.manifest import Axis, Stepping, TensorSpec, ValidatedResolution
from certisolve_server import admission
from certisolve_server.errors import (
    InvalidOption,
    InvalidRequest,
    MissingInput,
    NotFinite,
    OutOfRange,
    UnknownInput,
    UnknownParameter,
    UnvalidatedResolution,
    WrongDtype,
    WrongShape,
)
from certisolve_server.jobs import SolveRequest
from family_models import drift_manifest, recall_manifest, rotation_manifest, screened_manifest
from helpers import PERIODIC, POINTS, field_manifest, parameter

FIELD = np.linspace(-1, 1, 16, dtype=np.float32)
MODEL = field_manifest("model")


def spec(name, axes, dtype="F32", **bounds):
    return TensorSpec(name=name, dtype=dtype, axes=axes, description=name, **bounds)


def resolution(**sizes):
    return ValidatedResolution(
        sizes=sizes, error=0.01, worst_error=0.02, metric="rel_l2", num_samples=3
    )


#: A velocity of two components and a density on one 2-D grid, read at points.
PLANE = field_manifest(
    "plane",
    axes={
        "x": PERIODIC,
        "y": PERIODIC,
        "component": Axis(kind="channel", size=2),
        "points": Axis(kind="points", minimum=2, maximum=5),
    },
    inputs=(
        spec("velocity", ("x", "y", "component")),
        spec("density", ("x", "y"), minimum=0.5, maximum=2.0),
        spec("probe", ("points",)),
    ),
    outputs=(spec("u", ("x", "y")),),
    resolutions=(resolution(x=8, y=16), resolution(x=16, y=32)),
)


def plane(**changes):
    inputs = {
        "velocity": np.zeros((8, 16, 2), np.float32),
        "density": np.ones((8, 16), np.float32),
        "probe": np.zeros(3, np.float32),
    }
    return inputs | changes


def numbers(dtype):
    """A model of one list of numbers of an element type."""
    return field_manifest(
        "numbers",
        axes={"points": POINTS},
        inputs=(spec("u0", ("points",), dtype),),
        outputs=(spec("u", ("points",)),),
        resolutions=(resolution(),),
    )


def check(inputs, manifest=MODEL, **request):
    return admission.check(SolveRequest("model", None, inputs, **request), manifest)


def untyped(values, manifest=MODEL):
    return check({"u0": np.asarray(values)}, manifest, untyped=frozenset({"u0"}))


# --- Names ----------------------------------------------------------------------------------------


def test_inputs_are_put_in_the_order_of_the_manifest():
    inputs = plane()
    admitted = check(dict(reversed(inputs.items())), PLANE)
    assert all(a is b for a, b in zip(admitted.inputs, inputs.values(), strict=True))
    assert admitted.sizes == {"x": 8, "y": 16, "component": 2, "points": 3}
    assert admitted.resolution == PLANE.resolutions[0]
    assert not admitted.resampled


def test_an_unknown_input_is_named_with_what_there_is():
    with pytest.raises(UnknownInput, match="takes u0") as caught:
        check({"u0": FIELD, "v": FIELD})
    assert caught.value.field == "inputs.v"


def test_a_missing_input_is_named_and_described():
    with pytest.raises(MissingInput, match="field at t = 0") as caught:
        check({})
    assert caught.value.field == "inputs.u0"


# --- Shapes ---------------------------------------------------------------------------------------

SHAPES = {
    "rank-0": ({"u0": np.float32(1) * np.ones((), np.float32)}, MODEL, "u0"),
    "batch-dimension": ({"u0": FIELD[None]}, MODEL, "u0"),
    "rank-32": ({"u0": np.zeros((1,) * 32, np.float32)}, MODEL, "u0"),
    "empty": ({"u0": FIELD[:0]}, MODEL, "u0"),
    "empty-rank-2": ({"u0": np.zeros((0, 4), np.float32)}, MODEL, "u0"),
    "empty-points": (plane(probe=np.zeros(0, np.float32)), PLANE, "probe"),
    "empty-grid": (plane(density=np.zeros((8, 0), np.float32)), PLANE, "density"),
    "grids-that-differ": (plane(density=np.ones((8, 8), np.float32)), PLANE, "density"),
    "axes-swapped": (plane(density=np.ones((16, 8), np.float32)), PLANE, "density"),
    "too-many-components": (plane(velocity=np.zeros((8, 16, 3), np.float32)), PLANE, "velocity"),
    "too-few-points": (plane(probe=np.zeros(1, np.float32)), PLANE, "probe"),
    "too-many-points": (plane(probe=np.zeros(6, np.float32)), PLANE, "probe"),
}


@pytest.mark.parametrize(("inputs", "manifest", "name"), SHAPES.values(), ids=SHAPES)
def test_a_shape_that_contradicts_the_axes_is_refused(inputs, manifest, name):
    with pytest.raises(WrongShape) as caught:
        check(inputs, manifest)
    assert caught.value.field == f"inputs.{name}"


@pytest.mark.parametrize("count", [2, 5])
def test_limits_of_an_axis_are_admitted(count):
    assert check(plane(probe=np.zeros(count, np.float32)), PLANE).sizes["points"] == count


@pytest.mark.parametrize("dtype", wire.DTYPES.values(), ids=wire.DTYPES)
def test_an_empty_list_is_refused_in_every_element_type(dtype):
    with pytest.raises(WrongShape):
        untyped(np.empty(0, dtype))


# --- Element types --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "array",
    [FIELD.astype(np.float64), FIELD.astype(np.int32), FIELD > 0, FIELD.astype(">f4")],
    ids=["F64", "I32", "BOOL", "big-endian"],
)
def test_a_typed_array_of_another_element_type_is_refused_not_converted(array):
    with pytest.raises(WrongDtype, match="expected F32") as caught:
        check({"u0": array})
    assert caught.value.field == "inputs.u0"


def test_an_array_with_gaps_is_admitted_with_its_values():
    wide = np.repeat(FIELD, 2)
    (admitted,) = check({"u0": wide[::2]}).inputs
    np.testing.assert_array_equal(admitted, FIELD)


@pytest.mark.parametrize(
    "values",
    [FIELD.astype(np.float64), list(range(16)), [True, False] * 8],
    ids=["floats", "integers", "booleans"],
)
def test_plain_numbers_take_the_element_type_of_the_manifest(values):
    (admitted,) = untyped(values).inputs
    assert admitted.dtype == np.float32
    np.testing.assert_array_equal(admitted, np.asarray(values, np.float32))


def test_a_plain_number_beyond_the_element_type_is_refused():
    with pytest.raises(NotFinite, match=r"\[1\]"):
        untyped([0.0, 1e300] * 8)


NOT_INTEGERS = {
    "fraction": ([1.5], "I64"),
    "beyond-the-type": ([300], "U8"),
    "below-zero": ([-1], "U32"),
    "beyond-every-integer": ([1e30], "I64"),
    "just-beyond": ([2.0**63], "I64"),
    "not-a-truth-value": ([2], "BOOL"),
}


@pytest.mark.parametrize(("values", "dtype"), NOT_INTEGERS.values(), ids=NOT_INTEGERS)
def test_a_plain_number_that_the_element_type_cannot_hold_is_refused(values, dtype):
    with pytest.raises(WrongDtype, match=dtype) as caught:
        untyped(values, numbers(dtype))
    assert caught.value.field == "inputs.u0"


@pytest.mark.parametrize(
    ("values", "dtype"),
    [([0, 255], "U8"), ([-3.0], "I16"), ([2**63], "U64"), ([1, 0, True], "BOOL")],
    ids=["U8", "whole-float", "U64", "BOOL"],
)
def test_a_plain_number_that_the_element_type_holds_is_admitted(values, dtype):
    (admitted,) = untyped(values, numbers(dtype)).inputs
    assert admitted.dtype == wire.DTYPES[dtype]
    assert admitted.tolist() == values


# --- Values ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf], ids=["nan", "inf", "-inf"])
def test_the_first_element_that_is_not_finite_is_located(value):
    velocity = np.zeros((8, 16, 2), np.float32)
    velocity[3, 7, 1] = value
    velocity[5:] = np.nan
    with pytest.raises(NotFinite, match=rf"\[3, 7, 1\] is {value}") as caught:
        check(plane(velocity=velocity), PLANE)
    assert caught.value.field == "inputs.velocity"


@pytest.mark.parametrize(("value", "says"), [(0.25, "below 0.5"), (3.0, "above 2")])
def test_an_element_outside_the_range_is_refused(value, says):
    density = np.ones((8, 16), np.float32)
    density[-1, -1] = value
    with pytest.raises(OutOfRange, match=says) as caught:
        check(plane(density=density), PLANE)
    assert caught.value.field == "inputs.density"


def test_both_ends_of_a_range_are_inside():
    density = np.full((8, 16), 0.5, np.float32)
    density[0] = 2.0
    check(plane(density=density), PLANE)


def test_nan_is_no_way_around_a_range():
    density = np.full((8, 16), np.nan, np.float32)
    with pytest.raises(NotFinite):
        check(plane(density=density), PLANE)


# --- Parameters -----------------------------------------------------------------------------------

WITH_PARAMETERS = field_manifest(
    "parametric",
    parameters=(
        parameter("nu", 0.1, 1.0, 0.5),
        parameter("fixed", 2.0, 2.0, 2.0),
        parameter("gain", -1.0, 1.0, 0.0),
    ),
)


def parameters(**values):
    return check({"u0": FIELD}, WITH_PARAMETERS, parameters=values).parameters


def test_parameters_left_out_take_their_defaults():
    assert parameters() == (0.5, 2.0, 0.0)


def test_parameters_are_put_in_the_order_of_the_manifest():
    assert parameters(gain=1.0, nu=0.1) == (0.1, 2.0, 1.0)


def test_only_what_the_program_takes_is_passed_to_it():
    built_in = replace(parameter("nu", 0.1, 0.1, 0.1), program_input=False)
    manifest = field_manifest("m", parameters=(built_in, parameter("gain", 0.0, 1.0, 0.5)))
    admitted = check({"u0": FIELD}, manifest, parameters={"nu": 0.1})
    assert admitted.parameters == (0.5,)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("nu", 0.09, "0.1 to 1"),
        ("nu", 1.1, "0.1 to 1"),
        ("nu", float("nan"), "0.1 to 1"),
        ("nu", float("inf"), "0.1 to 1"),
        ("fixed", 2.1, "use 2$"),
    ],
)
def test_a_parameter_outside_its_range_is_refused(name, value, says):
    with pytest.raises(OutOfRange, match=says) as caught:
        parameters(**{name: value})
    assert caught.value.field == f"parameters.{name}"


def test_an_unknown_parameter_is_named_with_what_there_is():
    with pytest.raises(UnknownParameter, match="nu, fixed, gain") as caught:
        parameters(mu=1.0)
    assert caught.value.field == "parameters.mu"
    with pytest.raises(UnknownParameter, match="no parameters"):
        check({"u0": FIELD}, parameters={"mu": 1.0})


# --- Times ----------------------------------------------------------------------------------------

STEPPED = field_manifest("stepped", t=(0.5, 1.0))
STATIONARY = field_manifest("stationary", t=())


@pytest.mark.parametrize("manifest", [MODEL, STEPPED, STATIONARY], ids=lambda m: m.name)
def test_times_left_out_or_asked_for_are_those_of_the_manifest(manifest):
    assert check({"u0": FIELD}, manifest).t == manifest.t
    assert check({"u0": FIELD}, manifest, t=manifest.t).t == manifest.t


@pytest.mark.parametrize(
    "t",
    [(), (0.5,), (1.0,), (1.0, 0.5), (1.0, 1.0), (0.5, 1.0, 1.0)],
    ids=["none", "first", "last", "reversed", "twice", "too-many"],
)
def test_times_that_would_mislabel_the_answer_are_refused(t):
    with pytest.raises(InvalidOption) as caught:
        check({"u0": FIELD}, STEPPED, t=t)
    assert caught.value.field == "t"


@pytest.mark.parametrize(
    ("manifest", "says"), [(STEPPED, "t = 0.5, 1"), (STATIONARY, "stationary")], ids=["t", "none"]
)
def test_a_time_the_model_does_not_answer_at_is_refused_by_its_place(manifest, says):
    t = (*manifest.t, 0.7)
    with pytest.raises(OutOfRange, match=says) as caught:
        check({"u0": FIELD}, manifest, t=t)
    assert caught.value.field == f"t.{len(t) - 1}"


# --- Resolutions ----------------------------------------------------------------------------------

RESAMPLING = field_manifest("resampling", unvalidated_resolution="resample")


def line(size):
    return {"u0": np.zeros(size, np.float32)}


@pytest.mark.parametrize("size", [16, 32])
def test_a_validated_resolution_is_run_as_sent(size):
    admitted = check(line(size), RESAMPLING)
    assert admitted.resolution.sizes == {"x": size}
    assert not admitted.resampled


@pytest.mark.parametrize("size", [15, 17, 64, 1])
def test_another_resolution_is_refused_with_what_was_validated(size):
    with pytest.raises(UnvalidatedResolution, match="x=16; x=32") as caught:
        check(line(size))
    assert caught.value.field == "inputs.u0"


@pytest.mark.parametrize(
    ("size", "nearest"), [(8, 16), (17, 16), (22, 16), (23, 32), (31, 32), (1000, 32)]
)
def test_a_field_is_resampled_to_the_nearest_resolution_by_ratio(size, nearest):
    admitted = check(line(size), RESAMPLING)
    assert admitted.resampled
    assert admitted.resolution.sizes == {"x": nearest}
    assert admitted.sizes == {"x": size}


@pytest.mark.parametrize("size", [1, 7])
def test_too_few_values_hold_no_field(size):
    with pytest.raises(UnvalidatedResolution, match="too coarse"):
        check(line(size), RESAMPLING)


def test_a_resolution_is_validated_along_all_axes_together():
    mixed = plane(velocity=np.zeros((8, 32, 2), np.float32), density=np.ones((8, 32), np.float32))
    with pytest.raises(UnvalidatedResolution, match="x=8 x y=32"):
        check(mixed, PLANE)


def test_a_model_without_grids_runs_at_any_size():
    manifest = numbers("F32")
    assert check(line(7), manifest).resolution == manifest.resolutions[0]


# --- Whatever comes -------------------------------------------------------------------------------


@given(
    array=arrays.arrays(
        st.sampled_from(list(wire.DTYPES.values())),
        arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=17),
    ),
    manifest=st.sampled_from([MODEL, RESAMPLING, numbers("I8"), numbers("F16"), numbers("BOOL")]),
    plain=st.booleans(),
)
def test_any_array_is_admitted_in_the_manifests_terms_or_refused(array, manifest, plain):
    names = frozenset({"u0"}) if plain else frozenset()
    admitted, error = _attempt({"u0": array}, manifest, names)
    if admitted is None:
        assert (error.field, bool(error.detail)) == ("inputs.u0", True)
        return
    (given,) = admitted.inputs
    assert given.dtype == wire.DTYPES[manifest.inputs[0].dtype]
    assert given.shape == array.shape
    assert np.isfinite(given).all()


def _attempt(inputs, manifest, names):
    try:
        return check(inputs, manifest, untyped=names), None
    except InvalidRequest as error:
        return None, error


# --- Steps, horizons, tolerances ------------------------------------------------------------------

DRIFT = drift_manifest()
WALK = {"w": FIELD, "f": FIELD}
SYSTEM = {"k": np.ones(16, np.float32), "f": np.ones(16)}


def context_of(inputs, manifest, **request):
    return admission.context(check(inputs, manifest, **request), manifest, diagnostics=True)


def test_without_times_those_of_the_manifest_are_answered():
    admitted = check(WALK, DRIFT)
    assert (admitted.t, admitted.steps) == ((0.1, 0.2, 0.3), (1, 2, 3))


def test_default_times_that_are_further_than_any_request_may_go_are_refused():
    stepping = Stepping(dt=0.1, max_steps=10**9)
    manifest = drift_manifest(stepping=stepping, t=(1e7,))
    with pytest.raises(OutOfRange) as raised:
        check(WALK, manifest)
    assert raised.value.field == "t.0"


def test_a_horizon_beyond_what_was_validated_is_answered_and_flagged():
    context = context_of(WALK, DRIFT, t=(0.1, 0.9))
    assert (context.out_of_range, context.expected_error) == (("horizon",), None)


@pytest.mark.parametrize(("t", "error"), [((0.1,), 0.01), ((0.2,), 0.02), ((0.1, 0.8), 0.05)])
def test_the_expected_error_is_that_of_the_horizon(t, error):
    context = context_of(WALK, DRIFT, t=t)
    assert (context.out_of_range, context.expected_error) == ((), error)


def test_a_resampled_rollout_is_flagged_for_both():
    manifest = drift_manifest(unvalidated_resolution="resample")
    field = np.zeros(20, np.float32)
    context = context_of({"w": field, "f": field}, manifest, t=(0.9,))
    assert (context.out_of_range, context.expected_error) == (("resolution", "horizon"), None)


@pytest.mark.parametrize("tolerance", [1e-12, 1e-8, 1e-3, 0.999])
def test_tolerances_that_can_be_promised_are_taken(tolerance):
    admitted = check(SYSTEM, screened_manifest(), tolerance=tolerance)
    assert admitted.tolerance == tolerance
    context = context_of(SYSTEM, screened_manifest(), tolerance=tolerance)
    # An answer that is looser than those that were measured has another error.
    assert context.expected_error == (0.01 if tolerance <= 1e-8 else None)


@pytest.mark.parametrize("tolerance", [0.0, -1e-3, 9e-13, 1.0, np.inf, -np.inf, np.nan])
def test_tolerances_that_cannot_be_promised_are_refused(tolerance):
    with pytest.raises(OutOfRange, match="use 1e-12 to 1") as raised:
        check(SYSTEM, screened_manifest(), tolerance=tolerance)
    assert raised.value.field == "options.tolerance"


@pytest.mark.parametrize("inputs_and_model", [({"u0": FIELD}, MODEL), (WALK, DRIFT)])
def test_a_tolerance_is_for_iterative_solvers(inputs_and_model):
    with pytest.raises(InvalidOption, match="does not iterate") as raised:
        check(*inputs_and_model, tolerance=1e-3)
    assert raised.value.field == "options.tolerance"


TURN = {"y": np.ones(2, np.float32)}


@pytest.mark.parametrize(
    ("asked", "error"),
    [
        ({}, 0.05),
        ({"rtol": 1e-6}, 0.05),
        ({"rtol": 1e-5, "atol": 1e-6}, 0.05),
        ({"rtol": 1.1e-5}, None),
        ({"rtol": 0.99, "atol": 1e-9}, None),
        ({"atol": 2e-6}, None),
    ],
)
def test_an_integration_takes_tolerances_and_knows_the_error_of_strict_ones(asked, error):
    manifest = rotation_manifest()
    admitted = check(TURN, manifest, **asked)
    work = admission.work(admitted, manifest, diagnostics=False)
    assert (work.rtol, work.atol, work.checks) == (asked.get("rtol"), asked.get("atol"), False)
    assert (work.t, work.steps) == (manifest.t, ())
    context = context_of(TURN, manifest, **asked)
    assert (context.out_of_range, context.expected_error) == ((), error)


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"rtol": 9e-7}, "options.rtol"),
        ({"rtol": 1.0}, "options.rtol"),
        ({"rtol": np.nan}, "options.rtol"),
        ({"atol": 0.0}, "options.atol"),
        ({"atol": -1e-3}, "options.atol"),
        ({"atol": np.inf}, "options.atol"),
        ({"atol": np.nan}, "options.atol"),
    ],
)
def test_tolerances_that_no_integration_keeps_are_refused(asked, field):
    with pytest.raises(OutOfRange) as raised:
        check(TURN, rotation_manifest(), **asked)
    assert raised.value.field == field


@pytest.mark.parametrize("name", ["rtol", "atol"])
def test_tolerances_of_an_integration_are_for_no_other_family(name):
    with pytest.raises(InvalidOption, match="is not integrated") as raised:
        check(WALK, DRIFT, **{name: 1e-3})
    assert raised.value.field == f"options.{name}"


def test_an_integration_beyond_its_horizon_is_answered_and_flagged():
    context = context_of(TURN, rotation_manifest(), t=(0.1, 7.5))
    assert (context.out_of_range, context.expected_error) == (("horizon",), None)


def test_an_answer_of_an_integration_is_as_large_as_its_frames():
    admitted = check(TURN, rotation_manifest(), t=tuple(0.001 * (i + 1) for i in range(500)))
    assert admission.answer_bytes(admitted, rotation_manifest()) == 500 * 2 * 4


def test_float32_is_taken_where_float64_is_declared_and_not_the_other_way():
    narrow = check(SYSTEM | {"f": np.full(16, 0.1, np.float32)}, screened_manifest())
    assert narrow.inputs[1].dtype == np.float64
    np.testing.assert_array_equal(narrow.inputs[1], np.float32(0.1))
    with pytest.raises(WrongDtype, match="expected F32, got F64"):
        check(SYSTEM | {"k": np.ones(16)}, screened_manifest())


def test_the_tolerance_and_the_times_are_part_of_what_is_asked():
    def digest(**request):
        return admission.digest(SolveRequest("m", None, WALK, **request))

    asked = [{}, {"tolerance": 1e-3}, {"tolerance": 1e-4}, {"t": (0.1,)}, {"t": (0.1, 0.2)}]
    asked += [{"rtol": 1e-3}, {"atol": 1e-3}]
    assert len({digest(**request) for request in asked}) == len(asked)
    assert digest(tolerance=1e-3) == digest(tolerance=1e-3)


def test_an_answer_is_as_large_as_its_frames():
    admitted = check(WALK, DRIFT, t=(0.1, 0.5, 0.7))
    assert admission.answer_bytes(admitted, DRIFT) == 3 * 2 * 16 * 4
    lone = check({"u0": FIELD}, MODEL)
    assert admission.answer_bytes(lone, MODEL) == 16 * 4


@pytest.mark.parametrize("size", [20, 1000])
def test_a_resampled_answer_counts_as_large_as_the_larger_of_its_grids(size):
    manifest = drift_manifest(unvalidated_resolution="resample", resolutions=MODEL.resolutions)
    field = np.zeros(size, np.float32)
    admitted = check({"w": field, "f": field}, manifest, t=(0.1, 0.2))
    larger = max(size, admitted.resolution.sizes["x"])
    assert admission.answer_bytes(admitted, manifest) == 2 * 2 * larger * 4


def test_a_history_of_any_admissible_length_is_taken():
    manifest = recall_manifest()
    for length in (1, 6):
        assert check({"u": np.zeros((length, 16), np.float32)}, manifest).steps == (1, 2, 3)
    for length in (0, 7):
        with pytest.raises(WrongShape, match="expected 1 to 6"):
            check({"u": np.zeros((length, 16), np.float32)}, manifest)

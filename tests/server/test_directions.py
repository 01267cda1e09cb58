"""Directions are checked by name, counted, and put on the grid of the program."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from certisolve.manifest import Program
from certisolve_server import admission, directions, grids
from certisolve_server.derivatives import derivative_of
from certisolve_server.errors import (
    InvalidOption,
    MissingInput,
    NotDifferentiable,
    OutOfRange,
    UnknownInput,
    UnknownParameter,
    WrongDtype,
    WrongShape,
)
from certisolve_server.jobs import (
    Artifact,
    DerivativeRequest,
    ModelKey,
    Outcome,
    SolveJob,
    SolveRequest,
    Timings,
)
from family_models import SIZE, drift_manifest, rotation_manifest
from helpers import field_manifest

MANIFEST = drift_manifest()
FIELD = np.linspace(0, 1, SIZE, dtype=np.float32)
MANY_BYTES = 1 << 30


def job_of(manifest, **asked):
    """The solve that derivatives are added to."""
    inputs = asked.pop("inputs", None) or {spec.name: FIELD for spec in manifest.inputs}
    request = SolveRequest(model=manifest.name, version=None, inputs=inputs, **asked)
    admitted = admission.check(request, manifest)
    job = SolveJob(
        id="job",
        model=ModelKey(manifest.name, "1"),
        inputs=admission.on_program_grid(admitted, manifest),
        parameters=admitted.parameters,
        submitted_at=0.0,
        context=admission.context(admitted, manifest, diagnostics=True),
        work=admission.work(admitted, manifest, diagnostics=True),
    )
    return request, job


def added(
    kind="jvp", sent=None, parameters=None, *, manifest=MANIFEST, max_bytes=MANY_BYTES, **asked
):
    at, job = job_of(manifest, **asked)
    request = DerivativeRequest(kind, at, sent or {}, parameters or {})
    return directions.added(job, request, manifest, max_bytes=max_bytes)


def test_a_direction_per_input_and_parameter_in_the_order_of_the_manifest():
    job = added(sent={"f": np.ones((3, SIZE))}, parameters={"rate": np.array([1, 2, 3])})
    assert job.work.kind == "jvp"
    w, f, rate = job.directions
    assert w.shape == (0, SIZE)
    assert (f.shape, f.dtype) == ((3, SIZE), np.float32)
    assert rate.tolist() == [1, 2, 3]


def test_a_direction_per_output_with_its_frames():
    job = added("vjp", {"w": np.ones((2, 3, SIZE))})
    assert [array.shape for array in job.directions] == [(0, 3, SIZE), (2, 3, SIZE)]
    job = added("vjp", {"w": np.ones((5, SIZE))}, steps=5)
    assert job.directions[1].shape == (1, 5, SIZE)


def test_jobs_of_other_directions_share_no_lane():
    one, two = (added(sent={"w": np.ones((count, SIZE))}) for count in (1, 2))
    assert one.lane != two.lane
    assert one.lane.kind == "jvp"
    assert one.lane != job_of(MANIFEST)[1].lane


@pytest.mark.parametrize(
    ("kind", "sent", "parameters", "error", "field"),
    [
        ("jvp", {"v": FIELD}, {}, UnknownInput, "tangents.v"),
        ("vjp", {"f": FIELD}, {}, UnknownInput, "cotangents.f"),
        ("jvp", {"w": FIELD}, {"speed": [1.0]}, UnknownParameter, "parameter_tangents.speed"),
        ("jvp", {}, {}, MissingInput, "tangents"),
        ("jvp", {"w": FIELD[:3]}, {}, WrongShape, "tangents.w"),
        ("vjp", {"w": FIELD}, {}, WrongShape, "cotangents.w"),
        ("jvp", {"w": FIELD}, {"rate": [1.0, 2.0]}, WrongShape, "parameter_tangents.rate"),
        ("jvp", {"w": np.full(SIZE, 1e300)}, {}, directions.NotFinite, "tangents.w"),
        ("jvp", {"w": np.full(SIZE, "a")}, {}, WrongDtype, "tangents.w"),
        ("jvp", {"w": np.zeros((1025, SIZE))}, {}, OutOfRange, "tangents"),
    ],
)
def test_what_is_wrong_is_named(kind, sent, parameters, error, field):
    sent = {name: np.asarray(array) for name, array in sent.items()}
    parameters = {name: np.asarray(array) for name, array in parameters.items()}
    with pytest.raises(error) as caught:
        added(kind, sent, parameters)
    assert caught.value.field == field


def test_steps_along_all_directions_are_bounded():
    added(sent={"w": np.zeros((4, SIZE))}, t=(409.6,))
    with pytest.raises(OutOfRange, match="that is 4 directions"):
        added(sent={"w": np.zeros((5, SIZE))}, t=(409.6,))


def test_the_answer_is_accounted_and_bounded():
    frame = 2 * FIELD.nbytes
    assert added(sent={"w": FIELD[None]}).num_answer_bytes == 2 * 3 * frame
    two = added("vjp", {"w": np.ones((2, 3, SIZE))})
    assert two.num_answer_bytes == 3 * frame + 2 * 2 * FIELD.nbytes
    added(sent={"w": FIELD[None]}, max_bytes=6 * frame)
    with pytest.raises(InvalidOption, match="fewer directions") as caught:
        added(sent={"w": FIELD[None]}, max_bytes=6 * frame - 1)
    assert caught.value.field == "tangents"


def test_times_of_an_integration_are_frames():
    manifest = rotation_manifest()
    inputs = {"y": np.ones(2, np.float32)}
    job = added(
        "vjp", {"y": np.ones((4, 2))}, manifest=manifest, inputs=inputs, t=(0.1, 0.2, 0.3, 0.4)
    )
    assert job.directions[0].shape == (1, 4, 2)


def test_onnx_graphs_are_refused_by_name():
    program = Program(format="onnx", file="program.onnx")
    manifest = field_manifest("graph", program=program, files={"program.onnx": ""})
    with pytest.raises(NotDifferentiable, match="graph"):
        added(sent={"u0": FIELD}, manifest=manifest)


def test_whole_numbers_are_left_out():
    number = replace(MANIFEST.inputs[1], dtype="I64")
    manifest = drift_manifest(inputs=(MANIFEST.inputs[0], number))
    inputs = {"w": FIELD, "f": np.arange(SIZE)}
    assert added(sent={"w": FIELD}, manifest=manifest, inputs=inputs).directions[1].size == 0
    with pytest.raises(WrongDtype) as caught:
        added(sent={"f": FIELD}, manifest=manifest, inputs=inputs)
    assert caught.value.field == "tangents.f"


# --- Other grids ----------------------------------------------------------------------------------

sizes = st.integers(8, 40)


@given(sizes, sizes, st.integers(0, 2**32 - 1))
def test_the_transpose_of_resampling_is_its_transpose(sent, ran, seed):
    rng = np.random.default_rng(seed)
    u, v = rng.normal(size=(3, sent)), rng.normal(size=(3, ran))
    there = grids.resample(u, ("", "x"), {"x": ran})
    back = grids.resample_transposed(v, ("", "x"), {"x": sent})
    np.testing.assert_allclose((there * v).sum(axis=1), (u * back).sum(axis=1), atol=1e-12)


@pytest.mark.parametrize("size", [24, 40, 33])
@pytest.mark.parametrize("kind", ["jvp", "vjp"])
def test_derivatives_are_those_of_what_was_sent(kind, size):
    """The program is squaring, on 16 or 32 points; what was sent has others."""
    manifest = field_manifest("resampling", unvalidated_resolution="resample")
    rng = np.random.default_rng(5)
    u, along = rng.normal(size=(2, size)).astype(np.float32)
    name = {"jvp": "u0", "vjp": "u"}[kind]
    job = added(kind, {name: along}, manifest=manifest, inputs={"u0": u})
    [field], [direction] = job.inputs, job.directions
    assert direction.shape == (1, *field.shape)
    outcome = Outcome(
        model=job.model,
        outputs=(field**2, 2 * field * direction),
        finite=True,
        timings=Timings(0.0, 0.0, 0.0),
        batch_size=1,
        context=job.context,
    )
    found = derivative_of(outcome, Artifact(manifest, "digest", "/nowhere"), kind)
    matrix = np.eye(size)
    there = grids.resample(matrix, ("", "x"), {"x": len(field)}).T
    back = grids.resample(np.eye(len(field)), ("", "x"), {"x": size}).T
    jacobian = back @ np.diag(2 * field.astype(np.float64)) @ there
    expected = jacobian @ along if kind == "jvp" else jacobian.T @ along
    [derivative] = found.derivatives.values()
    np.testing.assert_allclose(derivative[0], expected, atol=1e-4)
    np.testing.assert_allclose(found.solution.fields["u"], back @ field**2, atol=1e-4)

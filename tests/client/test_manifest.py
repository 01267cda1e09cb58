"""A manifest that is accepted can be served: every contradiction is refused by its key."""

import json
from dataclasses import asdict
from typing import Any

import pytest

from certisolve.manifest import (
    Axis,
    Baseline,
    Manifest,
    ManifestError,
    ParameterSpec,
    Program,
    TensorSpec,
    Training,
    ValidatedResolution,
)

FULL = Manifest(
    name="burgers1d-fno",
    version="1.0",
    title="Burgers",
    description="one step",
    equation="∂ₜu + u ∂ₓu = ∂ₓₓu",
    family="map",
    licence="Apache-2.0",
    program=Program(format="torch.export", file="program.pt2"),
    axes={
        "x": Axis(kind="grid", lower=0.0, upper=1.0, convention="periodic", boundary="periodic"),
        "points": Axis(kind="points", minimum=1, maximum=100),
        "component": Axis(kind="channel", size=2, labels=("u", "v")),
    },
    inputs=(TensorSpec(name="u0", dtype="F32", axes=("x",), description="at t = 0", minimum=-1.0),),
    outputs=(TensorSpec(name="u", dtype="F32", axes=("x", "component"), description="at t = 1"),),
    parameters=(
        ParameterSpec(name="nu", minimum=0.1, maximum=1.0, default=0.5, description="viscosity"),
    ),
    t=(0.5, 1.0),
    resolutions=(
        ValidatedResolution(
            sizes={"x": 64}, error=0.01, worst_error=0.02, metric="rel_l2", num_samples=3
        ),
    ),
    unvalidated_resolution="resample",
    batch_tolerance=1e-6,
    golden_tolerance=1e-5,
    max_batch_size=8,
    files={"program.pt2": "00", "golden.safetensors": "11"},
    baselines=(
        Baseline(
            solver="ETDRK4",
            grid="1024",
            dt=None,
            batch_size=1,
            error=0.01,
            time_ms=3.0,
            model_error=0.02,
            model_time_ms=1.0,
            hardware="one core",
        ),
    ),
    training=Training(
        data="random", recipe="Adam", seed=0, duration_s=1.0, hardware="one core", script="train"
    ),
)


def document(**changes: Any) -> dict[str, Any]:
    return json.loads(FULL.to_json()) | changes


def parse(value: object, *, strict: bool = True) -> Manifest:
    return Manifest.from_json(json.dumps(value), strict=strict)


def test_a_manifest_survives_json():
    assert Manifest.from_json(FULL.to_json()) == FULL
    assert Manifest.from_json(FULL.to_json().encode()) == FULL


def test_an_equation_stays_readable_in_the_file():
    assert "∂ₜu + u ∂ₓu = ∂ₓₓu" in FULL.to_json()


def test_optional_keys_may_be_left_out():
    short = document()
    for key in ("parameters", "t", "baselines", "training", "format_version"):
        del short[key]
    manifest = parse(short)
    assert (manifest.parameters, manifest.t, manifest.training) == ((), (), None)


def test_an_integer_is_taken_where_a_number_is_declared():
    assert parse(document(batch_tolerance=0)).batch_tolerance == 0.0


def test_an_error_that_was_never_measured_is_null():
    unknown = {"error": None, "worst_error": None, "num_samples": 0}
    [resolution] = parse(document(resolutions=_resolution(**unknown))).resolutions
    assert (resolution.error, resolution.worst_error) == (None, None)


def test_grid_axes_are_named_in_the_order_of_declaration():
    axes = {"y": FULL.axes["x"], **FULL.axes}
    sizes = [asdict(FULL.resolutions[0]) | {"sizes": {"x": 64, "y": 64}}]
    value = document(axes={name: asdict(axis) for name, axis in axes.items()}, resolutions=sizes)
    assert parse(value).grid_axes == ("y", "x")


def _nested(key: str, index: Any, **changes: Any) -> dict[str, Any]:
    value = document()
    value[key][index] |= changes
    return value


UNKNOWN_KEYS = {
    "top": (document(colour="red"), "colour"),
    "axis": (_nested("axes", "x", colour="red"), "axes.x.colour"),
    "input": (_nested("inputs", 0, colour="red"), "inputs.0.colour"),
    "resolution": (_nested("resolutions", 0, colour="red"), "resolutions.0.colour"),
    "program": (document(program={"format": "onnx", "file": "program.pt2", "x": 1}), "program.x"),
}


@pytest.mark.parametrize(("value", "path"), UNKNOWN_KEYS.values(), ids=UNKNOWN_KEYS)
def test_a_server_refuses_an_unknown_key_and_a_client_skips_it(value, path):
    with pytest.raises(ManifestError, match=path):
        parse(value)
    assert parse(value, strict=False).name == FULL.name


def test_leniency_does_not_extend_to_what_is_known():
    with pytest.raises(ManifestError, match="max_batch_size"):
        parse(document(max_batch_size="8", colour="red"), strict=False)


@pytest.mark.parametrize("key", ["name", "axes", "files", "inputs", "golden_tolerance"])
def test_a_missing_key_is_named(key):
    value = document()
    del value[key]
    with pytest.raises(ManifestError, match=f"{key}: missing"):
        parse(value)


WRONG_TYPES = {
    "text-for-a-number": (document(max_batch_size="8"), "max_batch_size"),
    "fraction-for-an-integer": (document(max_batch_size=8.5), "max_batch_size"),
    "boolean-for-an-integer": (document(max_batch_size=True), "max_batch_size"),
    "boolean-for-a-number": (document(batch_tolerance=False), "batch_tolerance"),
    "number-for-text": (document(name=7), "name"),
    "null-for-text": (document(title=None), "title"),
    "text-for-a-list": (document(inputs="u0"), "inputs"),
    "list-for-an-object": (document(axes=[]), "axes"),
    "object-for-a-list": (document(t={}), "t"),
    "text-for-an-entry": (document(inputs=["u0"]), "inputs.0"),
    "unknown-choice": (document(family="oracle"), "family"),
    "list-for-a-choice": (document(family=["map"]), "family"),
    "unknown-kind-of-axis": (_nested("axes", "x", kind="circle"), "axes.x.kind"),
    "nan": (document(golden_tolerance=float("nan")), "golden_tolerance"),
    "infinity": (document(golden_tolerance=float("inf")), "golden_tolerance"),
    "number-beyond-floats": (document(golden_tolerance=10**400), "golden_tolerance"),
    "half-a-surrogate-pair": (document(title="\ud800"), "title"),
    "number-as-a-digest": (document(files={"program.pt2": 1}), "files.program.pt2"),
}


@pytest.mark.parametrize(("value", "path"), WRONG_TYPES.values(), ids=WRONG_TYPES)
def test_a_value_of_another_form_is_named(value, path):
    with pytest.raises(ManifestError, match=f"^{path}: "):
        parse(value)


NOT_OBJECTS = {
    "empty": b"",
    "text": b"manifest",
    "list": b"[]",
    "null": b"null",
    "not-utf-8": b"\xff\xfe\xff",
    "deep": b"[" * 100_000,
    "integer-without-end": b'{"max_batch_size": ' + b"1" * 5000 + b"}",
}


@pytest.mark.parametrize("content", NOT_OBJECTS.values(), ids=NOT_OBJECTS)
def test_a_file_that_is_no_manifest_is_refused(content):
    with pytest.raises(ManifestError):
        Manifest.from_json(content)


def _resolution(**changes: Any) -> list[dict[str, Any]]:
    return [asdict(FULL.resolutions[0]) | changes]


CONTRADICTIONS = {
    "error-without-the-worst": (
        document(resolutions=_resolution(worst_error=None)),
        "worst_error",
    ),
    "format-of-another-release": (document(format_version=2), "format_version"),
    "name-with-capitals": (document(name="Burgers"), "name"),
    "name-that-climbs": (document(name="../x"), "name"),
    "name-that-is-a-dot": (document(name="."), "name"),
    "name-with-a-newline": (document(name="a\n"), "name"),
    "name-too-long": (document(name="a" * 65), "name"),
    "version-empty": (document(version=""), "version"),
    "version-with-a-slash": (document(version="1/2"), "version"),
    "input-like-an-output": (_nested("outputs", 0, name="u0"), "occurs twice"),
    "parameter-like-an-input": (_nested("parameters", 0, name="u0"), "occurs twice"),
    "tensor-name-with-a-slash": (_nested("inputs", 0, name="u/0"), "identifier"),
    "tensor-name-with-a-dot": (_nested("outputs", 0, name="coords.x"), "identifier"),
    "axis-name-with-a-dot": (
        document(axes={**document()["axes"], "a.b": {"kind": "points"}}),
        "axes.a.b",
    ),
    "axis-not-declared": (_nested("inputs", 0, axes=["z"]), "u0.axes"),
    "dtype-unknown": (_nested("inputs", 0, dtype="float32"), "u0.dtype"),
    "dtype-that-does-not-travel": (_nested("outputs", 0, dtype="BF16"), "u.dtype"),
    "element-range-reversed": (_nested("inputs", 0, minimum=1.0, maximum=0.0), "u0"),
    "grid-without-lower": (_nested("axes", "x", lower=None), "axes.x"),
    "grid-without-convention": (_nested("axes", "x", convention=None), "axes.x"),
    "grid-of-no-length": (_nested("axes", "x", upper=0.0), "axes.x"),
    "channel-without-size": (_nested("axes", "component", size=None), "axes.component.size"),
    "channel-of-nothing": (_nested("axes", "component", size=0), "axes.component.size"),
    "points-that-may-be-none": (_nested("axes", "points", minimum=0), "axes.points.minimum"),
    "points-range-reversed": (_nested("axes", "points", minimum=9, maximum=8), "axes.points"),
    "resampling-a-grid-with-ends": (
        _nested("axes", "x", convention="nodes"),
        "unvalidated_resolution",
    ),
    "parameter-range-reversed": (_nested("parameters", 0, minimum=2.0), "nu.default"),
    "default-out-of-range": (_nested("parameters", 0, default=2.0), "nu.default"),
    "no-inputs": (document(inputs=[]), "inputs"),
    "no-outputs": (document(outputs=[]), "outputs"),
    "no-resolutions": (document(resolutions=[]), "resolutions"),
    "resolution-of-another-axis": (
        document(resolutions=_resolution(sizes={"y": 1})),
        "resolutions",
    ),
    "resolution-of-no-axis": (document(resolutions=_resolution(sizes={})), "resolutions"),
    "resolution-of-nothing": (document(resolutions=_resolution(sizes={"x": 0})), "resolutions"),
    "batch-of-nobody": (document(max_batch_size=0), "max_batch_size"),
    "tolerance-below-zero": (document(batch_tolerance=-1.0), "batch_tolerance"),
    "program-not-in-files": (document(files={"golden.safetensors": "11"}), "files"),
    "file-that-climbs": (document(files={**FULL.files, "../x": "22"}), "files"),
    "file-absolute": (document(files={**FULL.files, "/etc/passwd": "22"}), "files"),
    "file-with-a-backslash": (document(files={**FULL.files, "..\\x": "22"}), "files"),
    "file-hidden": (document(files={**FULL.files, ".bashrc": "22"}), "files"),
    "file-with-a-nul": (document(files={**FULL.files, "a\0b": "22"}), "files"),
    "file-with-half-a-surrogate": (document(files={**FULL.files, "\ud800": "22"}), "files"),
    "file-without-a-name": (document(files={**FULL.files, "": "22"}), "files"),
}


@pytest.mark.parametrize(("value", "key"), CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_a_manifest_that_contradicts_itself_is_refused(value, key):
    with pytest.raises(ManifestError, match=key):
        parse(value)

"""What cannot be certified is refused before it waits, by the field at fault."""

import math
from dataclasses import replace

import numpy as np
import pytest

from certify_requests import BALL, CENTER, certify_request
from certisolve.manifest import Program, Stepping
from certisolve_server import errors, horizon
from certisolve_server.certification.admission import check
from certisolve_server.certification.request import BallDomain, BoxDomain, GlobalDomain
from helpers import field_manifest, parameter

MANIFEST = field_manifest("double")
LIMIT_S = 600.0


def refusal(request, manifest=MANIFEST) -> errors.ServingError:
    with pytest.raises(errors.InvalidRequest) as raised:
        check(request, manifest, max_budget_s=LIMIT_S)
    return raised.value


def ball(**changes) -> BallDomain:
    return replace(BALL, **changes)


def field(value: float) -> dict[str, np.ndarray]:
    return {"u0": np.full(16, value)}


NAN = CENTER.copy()
NAN[3] = math.nan

REFUSED = {
    "an unknown input": ({"domain": ball(center={"v": CENTER})}, "UnknownInput", "domain.center.v"),
    "an unknown frozen input": ({"inputs": {"v": CENTER}}, "UnknownInput", "inputs.v"),
    "an unknown bound": ({"domain": ball(lower={"v": CENTER})}, "UnknownInput", "domain.lower.v"),
    "an input in both": ({"inputs": {"u0": CENTER}}, "InvalidOption", "inputs.u0"),
    "no input": ({"domain": ball(center={})}, "InvalidOption", "domain.center"),
    "nothing that varies": (
        {"domain": GlobalDomain(), "inputs": {"u0": CENTER}}, "InvalidOption", "inputs",
    ),
    "half a box": ({"domain": BoxDomain(field(0), {})}, "MissingInput", "domain.upper"),
    "the other half": ({"domain": BoxDomain({}, field(0))}, "InvalidOption", "domain.lower"),
    "a box inside out": (
        {"domain": BoxDomain(field(1), field(0))}, "InvalidOption", "domain.upper.u0",
    ),
    "a center outside": ({"domain": ball(lower=field(2))}, "InvalidOption", "domain.lower.u0"),
    "NaN": ({"domain": ball(center={"u0": NAN})}, "NotFinite", "domain.center.u0"),
    "infinity": (
        {"domain": BoxDomain(field(-math.inf), field(0))}, "NotFinite", "domain.lower.u0",
    ),
    "a batch": ({"domain": ball(center={"u0": CENTER[None]})}, "WrongShape", "domain.center.u0"),
    "two sizes": (
        {"domain": ball(upper={"u0": np.full(8, 2.0)})}, "WrongShape", "domain.upper.u0",
    ),
    "another grid": (
        {"domain": ball(center={"u0": np.zeros(20)})}, "UnvalidatedResolution", "domain",
    ),
    "an unknown resolution": (
        {"domain": GlobalDomain(), "resolution": (17,)}, "UnvalidatedResolution", "resolution",
    ),
    "too many sizes": (
        {"domain": GlobalDomain(), "resolution": (16, 16)}, "UnvalidatedResolution", "resolution",
    ),
    "a resolution twice": ({"resolution": (16,)}, "InvalidOption", "resolution"),
    "a negative radius": ({"domain": ball(radius=-0.1)}, "InvalidOption", "domain.radius"),
    "a radius that is none": ({"domain": ball(radius=math.nan)}, "InvalidOption", "domain.radius"),
    "no limit": ({"domain": ball(radius=math.inf)}, "InvalidOption", "domain.radius"),
    "an unknown output": ({"output": "w"}, "InvalidOption", "output"),
    "a negative component": ({"component": -1}, "InvalidOption", "component"),
    "a component too far": ({"component": 16}, "InvalidOption", "component"),
    "an unknown parameter": ({"parameters": {"nu": 1.0}}, "UnknownParameter", "parameters.nu"),
    "a long search": ({"budget_s": 601.0}, "InvalidOption", "budget_s"),
    "a negative budget": ({"budget_s": -1.0}, "InvalidOption", "budget_s"),
    "a budget that is none": ({"budget_s": math.nan}, "InvalidOption", "budget_s"),
    "a gap below 1": ({"gap": 0.5}, "InvalidOption", "gap"),
    "a gap that is none": ({"gap": math.nan}, "InvalidOption", "gap"),
    "negative cuts": ({"max_splits": -1}, "InvalidOption", "max_splits"),
    "a large seed": ({"seed": 1 << 63}, "InvalidOption", "seed"),
    "steps of a map": ({"steps": 2}, "InvalidOption", "steps"),
    "a time that is none": ({"t": math.nan}, "InvalidOption", "t"),
    "no scale": ({"input_scale": {"u0": np.array(0.0)}}, "InvalidOption", "input_scale.u0"),
    "a scale of NaN": (
        {"output_scale": {"u": np.array([math.nan])}}, "InvalidOption", "output_scale.u",
    ),
    "a scale of fields": (
        {"input_scale": {"u0": np.ones((2, 2))}}, "InvalidOption", "input_scale.u0",
    ),
    "an unknown scale": (
        {"output_scale": {"u0": np.array(1.0)}}, "UnknownInput", "output_scale.u0",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_the_field_at_fault_is_named(case):
    changes, kind, at = REFUSED[case]
    found = refusal(certify_request(**changes))
    assert (type(found).__name__, found.field) == (kind, at)


def test_onnx_is_refused_by_name():
    manifest = replace(
        MANIFEST, program=Program(format="onnx", file="program.onnx"), files={"program.onnx": "0"}
    )
    found = refusal(certify_request(), manifest)
    assert isinstance(found, errors.NotCertified)
    assert "onnx" in found.detail


def test_sets_are_float64_to_the_last_bit():
    third = np.full(16, 1 / 3)
    found = check(certify_request(domain=ball(center={"u0": third})), MANIFEST, max_budget_s=10.0)
    assert found.domain.center["u0"].dtype == np.float64
    assert (found.domain.center["u0"] == third).all()
    assert found.version == MANIFEST.version


def test_what_stays_is_as_it_would_be_solved():
    manifest = field_manifest(
        "double", inputs=(*MANIFEST.inputs, replace(MANIFEST.inputs[0], name="a"))
    )
    found = check(certify_request(inputs={"a": np.full(16, 1 / 3)}), manifest, max_budget_s=10.0)
    assert found.inputs["a"].dtype == np.float32
    found = refusal(certify_request(inputs={"a": NAN}), manifest)
    assert (type(found).__name__, found.field) == ("NotFinite", "inputs.a")
    found = refusal(certify_request(), manifest)
    assert (type(found).__name__, found.field) == ("MissingInput", "inputs.a")


def test_everything_is_on_a_grid():
    found = check(certify_request(domain=GlobalDomain()), MANIFEST, max_budget_s=10.0)
    assert found.resolution == (MANIFEST.resolutions[0].sizes["x"],)
    again = check(
        certify_request(domain=GlobalDomain(), resolution=found.resolution),
        MANIFEST,
        max_budget_s=10.0,
    )
    assert again.resolution == found.resolution


def test_parameters_and_steps_are_those_of_the_model():
    manifest = field_manifest(
        "drift",
        family="rollout",
        parameters=(parameter("nu", 0.0, 1.0, 0.5),),
        outputs=MANIFEST.inputs,
        stepping=Stepping(dt=0.1, max_steps=10),
    )
    # As of a solve: beyond what was measured, the answer says so.
    check(certify_request(steps=11, parameters={"nu": 1.0}), manifest, max_budget_s=10.0)
    for steps in (0, horizon.MAX_STEPS + 1):
        assert refusal(certify_request(steps=steps), manifest).field == "steps"
    assert refusal(certify_request(steps=3, t=0.3), manifest).field == "steps"
    assert refusal(certify_request(parameters={"nu": 1.1}), manifest).field == "parameters.nu"

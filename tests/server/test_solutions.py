"""What was found about an answer is told in the words of the manifest, and nothing that is none."""

import math

import numpy as np
import pytest

from certisolve_server.jobs import Artifact, Outcome, SolveContext, Timings
from certisolve_server.solutions import solution_of
from family_models import drift_manifest
from helpers import field_manifest

CONTEXT = SolveContext((1.0,), {"x": 16}, None, 0.01, True)


def solution(*, findings=None, finite=True, context=CONTEXT, **ended):
    artifact = Artifact(field_manifest("double"), "d", "/nowhere")
    field = np.zeros(16, np.float32)
    timings = Timings(0.0, 0.0, 0.0)
    outcome = Outcome(artifact.key, (field,), finite, timings, 1, context, findings or {}, **ended)
    return solution_of(outcome, artifact)


def diagnostics(**options):
    return solution(**options).diagnostics


def test_findings_are_told_by_their_names():
    found = {"residual": 0.1, "conservation_defect": 0.2, "noise_gain": 2.0, "nfe": 3.0}
    found |= {"rejected_steps": 2.0}
    told = diagnostics(findings=found)
    assert (told.residual, told.conservation_defect, told.noise_gain) == (0.1, 0.2, 2.0)
    assert (told.nfe, told.rejected_steps) == (3, 2)
    assert type(told.nfe) is type(told.rejected_steps) is int
    assert (told.knot_excess, told.in_validated_range, told.expected_error) == (None, True, 0.01)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    "name", ["residual", "conservation_defect", "noise_gain", "nfe", "rejected_steps"]
)
def test_what_is_no_number_is_not_told(name, value):
    assert getattr(diagnostics(findings={name: value}), name) is None


@pytest.mark.parametrize(
    ("excess", "told", "inside"),
    [(-0.1, -0.1, True), (0.0, 0.0, True), (1e-9, 1e-9, False), (math.nan, None, False)],
)
def test_knots_that_were_left_are_out_of_range(excess, told, inside):
    found = diagnostics(findings={"knot_excess": excess})
    assert found.knot_excess == told
    assert found.in_validated_range == inside
    assert found.out_of_range == (() if inside else ("knots",))
    # The measured error is that of answers inside.
    assert found.expected_error == (0.01 if inside else None)


def test_what_is_out_of_range_adds_up():
    context = SolveContext((), {"x": 16}, None, None, True, ("resolution", "horizon"))
    found = diagnostics(findings={"knot_excess": 1.0}, context=context)
    assert found.out_of_range == ("resolution", "horizon", "knots")


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ({}, "ok"),
        ({"findings": {"converged": 1.0}}, "ok"),
        ({"findings": {"converged": 0.0}}, "not_converged"),
        ({"finite": False}, "not_finite"),
        ({"findings": {"converged": 0.0}, "finite": False}, "not_finite"),
        ({"ending": "diverged"}, "diverged"),
        ({"ending": "max_steps"}, "max_steps"),
        ({"ending": "dt_underflow"}, "dt_underflow"),
    ],
)
def test_the_status_is_the_worst_and_an_answer_that_is_not_ok_has_no_expected_error(
    options, status
):
    answered = solution(**options)
    assert answered.status == status
    assert answered.diagnostics.expected_error == (0.01 if status == "ok" else None)


def test_an_answer_that_ended_early_tells_the_times_it_has():
    assert solution().t == CONTEXT.t
    assert solution(ending="diverged", t=(0.25,)).t == (0.25,)


def test_frames_are_resampled_one_by_one():
    manifest = drift_manifest(unvalidated_resolution="resample")
    artifact = Artifact(manifest, "d", "/nowhere")
    x = np.arange(16) / 16
    frames = np.stack([np.sin(2 * np.pi * x), np.cos(2 * np.pi * x)]).astype(np.float32)
    context = SolveContext((0.1, 0.2), {"x": 24}, {"x": 24}, None, True, ("resolution",))
    timings = Timings(0.0, 0.0, 0.0)
    outcome = Outcome(artifact.key, (2 * frames, frames), True, timings, 1, context)
    answered = solution_of(outcome, artifact)
    fine = np.arange(24) / 24
    expected = [np.sin(2 * np.pi * fine), np.cos(2 * np.pi * fine)]
    # Trigonometric interpolation of one mode is exact; fields are of float32.
    np.testing.assert_allclose(answered.fields["w"], expected, atol=1e-6)
    assert answered.axes == {"v": ("t", "x"), "w": ("t", "x")}

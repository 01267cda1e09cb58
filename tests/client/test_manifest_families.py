"""What families need of a manifest, and what contradicts them."""

import json
from typing import Any

import pytest

from certisolve.manifest import Axis, Manifest, ManifestError
from family_models import (
    DRIFT_CHECKS,
    drift_manifest,
    members_manifest,
    pendulum_manifest,
    recall_manifest,
    rotation_manifest,
    screened_manifest,
)

FAMILIES = {
    "rollout": drift_manifest(checks=DRIFT_CHECKS),
    "memory-rollout": recall_manifest(),
    "feedback-ode": pendulum_manifest(),
    "ode": rotation_manifest(),
    "iterative-solver": screened_manifest(),
    "map": members_manifest(),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_manifest_of_every_family_survives_json(family):
    manifest = FAMILIES[family]
    assert Manifest.from_json(manifest.to_json()) == manifest
    assert manifest.family == family


def test_programs_are_listed_with_the_network_first():
    files = [program.file for program in FAMILIES["rollout"].programs]
    assert files == ["program.pt2", "checks.pt2"]
    files = [program.file for program in FAMILIES["iterative-solver"].programs]
    assert files == ["program.pt2", "operator.pt2"]


def test_a_frame_of_a_history_has_one_axis_less():
    [history] = FAMILIES["memory-rollout"].inputs
    assert FAMILIES["memory-rollout"].frame_axes(history) == ("x",)
    [field] = FAMILIES["map"].inputs
    assert FAMILIES["map"].frame_axes(field) == field.axes


def changed(family: str, changes: dict[str, Any]) -> str:
    """The document of a family with other values, by paths in dots; `...` takes a key out."""
    document = json.loads(FAMILIES[family].to_json())
    for path, value in changes.items():
        *parents, last = (int(key) if key.isdigit() else key for key in path.split("."))
        place = document
        for key in parents:
            place = place[key]
        if value is ...:
            del place[last]
        else:
            place[last] = value
    return json.dumps(document)


MEASURED = {
    "sizes": {"x": 16},
    "error": 0.1,
    "worst_error": 0.2,
    "metric": "rmse",
    "num_samples": 1,
}
STATE = {"name": "h", "dtype": "F32", "axes": ["x"], "description": "a state"}
SECOND = {"name": "g", "dtype": "F32", "axes": ["other", "x"], "description": "a history"}
GAIN = {"name": "gain", "minimum": 0, "maximum": 1, "default": 0, "description": "a gain"}
POINTS = {"kind": "points", "minimum": 1, "maximum": 9}
PROJECTION = {"kind": "conserve", "output": "u"}

CONTRADICTIONS = {
    # Parts of other families.
    "rollout without steps": (
        "rollout",
        {"stepping": None, "outputs.1.name": "z"},
        "stepping: .* needs it",
    ),
    "map with steps": (
        "map",
        {"stepping": {"dt": 1, "max_steps": 1}},
        "stepping: .* does not take it",
    ),
    "feedback without gains": ("feedback-ode", {"feedback": None}, "feedback: .* needs it"),
    "rollout with gains": (
        "rollout",
        {"feedback": {"decay": 0, "eigenvalue": 0}},
        "feedback: .* does not take it",
    ),
    "solver without an operator": ("iterative-solver", {"iteration": None}, "iteration: .* needs"),
    # Steps and times.
    "no time passes": ("rollout", {"stepping.dt": 0}, "stepping"),
    "time runs backwards": ("rollout", {"stepping.dt": -0.1}, "stepping"),
    "no steps": ("rollout", {"stepping.max_steps": 0}, "stepping"),
    "no default times": ("rollout", {"t": []}, "t: needs"),
    "default between steps": ("rollout", {"t": [0.1, 0.25]}, "t: 0.25"),
    "default at the start": ("rollout", {"t": [0.0]}, "t: 0 "),
    "default before the start": ("rollout", {"t": [-0.1]}, "t: -0.1"),
    "default beyond the horizon": ("rollout", {"t": [0.9]}, "t: 0.9"),
    "default beyond floats": ("rollout", {"t": [1e300], "stepping.dt": 1e-300}, "t: 1e"),
    "defaults descend": ("rollout", {"t": [0.2, 0.1]}, "t: must ascend"),
    "default twice": ("rollout", {"t": [0.2, 0.2]}, "t: must ascend"),
    "an axis called t": (
        "rollout",
        {
            "axes": {"t": POINTS, "x": json.loads(FAMILIES["rollout"].to_json())["axes"]["x"]},
        },
        "axes.t",
    ),
    "errors without times": (
        "rollout",
        {"resolutions": [MEASURED | {"t": [0.1], "error_at_t": []}]},
        "as many",
    ),
    "errors at times that descend": (
        "rollout",
        {"resolutions": [MEASURED | {"t": [0.2, 0.1], "error_at_t": [0.1, 0.2]}]},
        "must ascend",
    ),
    # What is carried.
    "nothing is carried": ("rollout", {"outputs.1.name": "z"}, "name of an input"),
    "carried on other axes": (
        "rollout",
        {"outputs.1.axes": ["x", "x"]},
        "w has other axes",
    ),
    "carried as another type": ("rollout", {"outputs.1.dtype": "F64"}, "w has another dtype"),
    "an output twice": ("rollout", {"outputs.0.name": "w"}, "occurs twice"),
    "an output that is no name": ("rollout", {"outputs.0.name": "coords.x"}, "identifier"),
    "an input like a state": ("memory-rollout", {"stepping.states.0.name": "u"}, "occurs twice"),
    "a state that is no name": ("memory-rollout", {"stepping.states.0.name": "h/0"}, "identifier"),
    "a state on no axis": ("memory-rollout", {"stepping.states.0.axes": ["z"]}, "h.axes"),
    "a state of any length": (
        "memory-rollout",
        {"stepping.states.0.axes": ["history"]},
        "h: takes",
    ),
    "a memory without states": ("memory-rollout", {"stepping.states": []}, "stepping.states"),
    "states without a memory": ("rollout", {"stepping.states": [STATE]}, "stepping.states"),
    "two histories of their own lengths": (
        "memory-rollout",
        {
            "axes": json.loads(FAMILIES["memory-rollout"].to_json())["axes"] | {"other": POINTS},
            "inputs": [json.loads(FAMILIES["memory-rollout"].to_json())["inputs"][0], SECOND],
        },
        "histories must share",
    ),
    "a history without end": ("memory-rollout", {"axes.history.maximum": None}, "history.maximum"),
    # Feedback.
    "measurements without end": (
        "feedback-ode",
        {"axes.measurement.maximum": None},
        "measurement.maximum",
    ),
    "feedback of a single state": ("feedback-ode", {"inputs.0.axes": ["state"]}, "inputs: need"),
    "feedback of another state": ("feedback-ode", {"outputs.0.axes": []}, "inputs: need"),
    "feedback of two inputs": (
        "feedback-ode",
        {"inputs": [{"name": n, "dtype": "F32", "axes": [], "description": ""} for n in "ab"]},
        "one of each",
    ),
    "gains that grow": ("feedback-ode", {"feedback.decay": -0.1}, "feedback: decay"),
    "a correction that repels": ("feedback-ode", {"feedback.eigenvalue": -1}, "feedback: decay"),
    "feedback with states": (
        "feedback-ode",
        {"stepping.states": [STATE | {"axes": ["state"]}]},
        "passes none",
    ),
    "feedback with parameters": (
        "feedback-ode",
        {"parameters": [GAIN | {"program_input": True}]},
        "passes none",
    ),
    # Integrations.
    "a field without an integrator": (
        "ode",
        {"integration": None, "outputs.0.name": "z"},
        "integration: .* needs it",
    ),
    "an integrator of steps": (
        "rollout",
        {"integration": json.loads(rotation_manifest().to_json())["integration"]},
        "integration: .* does not take it",
    ),
    "a field of two states": (
        "ode",
        {"outputs": [STATE | {"axes": ["state"], "name": name} for name in ("y", "g")]},
        "has one of each",
    ),
    "a state of another name": ("ode", {"outputs.0.name": "z"}, "its input at later times"),
    "a state on other axes": ("ode", {"outputs.0.axes": []}, "its input at later times"),
    "a state of another type": ("ode", {"outputs.0.dtype": "F64"}, "its input at later times"),
    "an unknown method": ("ode", {"integration.method": "euler"}, "integration.method"),
    "no relative tolerance": ("ode", {"integration.rtol": 0}, "integration: needs 0 <"),
    "stricter than promised": ("ode", {"integration.rtol": 1e-7}, "integration: needs 0 <"),
    "a relative tolerance of all": ("ode", {"integration.rtol": 1}, "integration: needs 0 <"),
    "no absolute tolerance": ("ode", {"integration.atol": 0}, "atol > 0"),
    "no steps to try": ("ode", {"integration.max_steps": 0}, "max_steps >= 1"),
    "no way to go": ("ode", {"integration.horizon": 0}, "horizon > 0"),
    "times of no integration": ("ode", {"t": []}, "t: needs ascending times"),
    "times from now on": ("ode", {"t": [0, 1]}, "t: needs ascending times"),
    "times back and forth": ("ode", {"t": [1, 0.5]}, "t: needs ascending times"),
    "times beyond the horizon": ("ode", {"t": [1, 2.5]}, "up to integration.horizon"),
    "an axis of times": (
        "ode",
        {"axes": {"t": {"kind": "channel", "size": 2}}, "inputs.0.axes": ["t"]}
        | {"outputs.0.axes": ["t"]},
        "axes.t: is that of the times",
    ),
    # Linear systems.
    "no such right-hand side": (
        "iterative-solver",
        {"iteration.right_hand_side": "b"},
        "right_hand_side",
    ),
    "a right-hand side elsewhere": ("iterative-solver", {"inputs.1.axes": []}, "outputs: needs"),
    "two unknowns": ("iterative-solver", {"outputs": [STATE, STATE | {"name": "g"}]}, "has one"),
    "an unknown of float32": ("iterative-solver", {"outputs.0.dtype": "F32"}, "answers in F64"),
    "no tolerance": ("iterative-solver", {"iteration.tolerance": 0}, "smallest_tolerance"),
    "a tolerance of everything": ("iterative-solver", {"iteration.tolerance": 1}, "tolerance"),
    "stricter than possible": ("iterative-solver", {"iteration.tolerance": 1e-13}, "tolerance"),
    "exactness": ("iterative-solver", {"iteration.smallest_tolerance": 0}, "tolerance"),
    "no iterations": ("iterative-solver", {"iteration.max_iterations": 0}, "max_iterations"),
    "an operator of no file": (
        "iterative-solver",
        {"iteration.operator.file": "a.pt2"},
        "files: lacks",
    ),
    "checks of no file": ("rollout", {"checks.program.file": "c.pt2"}, "files: lacks"),
    "checks of something else": ("rollout", {"checks.names": ["beauty"]}, "checks.names.0"),
    # Post-processors.
    "processing nothing": ("map", {"postprocess.0.output": "z"}, "'z' is not an output"),
    "a deviation that is no output": ("map", {"postprocess.0.deviation": "z"}, "'z' is not"),
    "a deviation of itself": ("map", {"postprocess.0.deviation": "u"}, "'u' is not another"),
    "a deviation on other axes": ("map", {"outputs.1.axes": []}, "other axes than u"),
    "an ensemble without deviation": ("map", {"postprocess.0.deviation": None}, "ensemble.deviat"),
    "no grid to project on": (
        "map",
        {"postprocess": [PROJECTION], "outputs.0.axes": []},
        "has no grid axis",
    ),
    "a projection of channels": (
        "map",
        {
            "axes": json.loads(FAMILIES["map"].to_json())["axes"]
            | {"c": {"kind": "channel", "size": 2}},
            "postprocess": [PROJECTION],
            "outputs.0.axes": ["x", "c"],
        },
        "grid axes alone",
    ),
    "an integral of nothing": ("map", {"postprocess.1.integral_of": "z"}, "'z' is not an input"),
    "an integral of channels": (
        "map",
        {
            "axes": json.loads(FAMILIES["map"].to_json())["axes"]
            | {"c": {"kind": "channel", "size": 2}},
            "inputs.0.axes": ["x", "c"],
        },
        "'u0' is not an input on the grid",
    ),
    "walls without values on them": (
        "map",
        {"postprocess": [{"kind": "dirichlet", "output": "u"}]},
        "no grid values",
    ),
    "a seam without values on it": (
        "map",
        {"postprocess": [{"kind": "periodic", "output": "u"}]},
        "no grid values",
    ),
    "a projected solution": ("iterative-solver", {"postprocess": [PROJECTION]}, "takes none"),
    "a projected forecast": (
        "feedback-ode",
        {"postprocess": [PROJECTION | {"output": "x"}]},
        "takes none",
    ),
    # Numbers beyond floats, which Python could not write into a message.
    "a minimum without end": (
        "memory-rollout",
        {"axes.history.minimum": 10**400},
        "too large|minimum",
    ),
}


@pytest.mark.parametrize(("family", "changes", "key"), CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_a_family_that_contradicts_itself_is_refused(family, changes, key):
    with pytest.raises(ManifestError, match=key):
        Manifest.from_json(changed(family, changes))


def test_a_history_and_a_bounded_axis_of_points_are_told_apart():
    axes = {**FAMILIES["rollout"].axes, "probe": Axis(kind="points")}
    inputs = json.loads(FAMILIES["rollout"].to_json())["inputs"]
    inputs[1]["axes"] = ["x", "probe"]
    document = changed("rollout", {"inputs": inputs, "axes": {k: vars(v) for k, v in axes.items()}})
    manifest = Manifest.from_json(document)
    assert manifest.frame_axes(manifest.inputs[1]) == ("x", "probe")

"""Requests become problems: of every bundled model, on the set and in the norms that were named."""

import dataclasses
import math
from functools import cache

import numpy as np
import pytest
import torch

from certisolve.manifest import Manifest
from certisolve_server.certification.request import (
    BallDomain,
    BoxDomain,
    CertifyRequest,
    GlobalDomain,
)
from certisolve_server.certification.subjects import open_subject
from certisolve_server.certifier.domain import box
from certisolve_server.certifier.errors import CertifierError, NotCertified
from certisolve_server.certifier.execution import Execution
from certisolve_server.certifier.methods.mean_value import enclose
from certisolve_server.certifier.norms import Norms
from certisolve_server.certifier.problem import Flow
from certisolve_server.certifier.region import Ball, Box, Everything
from certisolve_server.engines.families.cascade import Cascade
from certisolve_server.errors import InvalidRequest
from small_networks import ARTIFACTS, bundled

NAMES = sorted({path.parent.parent.name for path in ARTIFACTS.glob("*/*/manifest.json")})


@cache
def model(name):
    directory = max((ARTIFACTS / name).iterdir(), key=lambda path: int(path.name))
    return Manifest.from_json((directory / "manifest.json").read_bytes()), bundled(name)


def opened(name, domain=None, **options):
    return open_subject(CertifyRequest(name, domain or GlobalDomain(), **options), *model(name))


def ball(name, center, radius=0.1, norm="l2", **bounds):
    return BallDomain({name: np.array(center)}, radius, norm, **bounds)


@pytest.mark.parametrize("name", NAMES)
def test_every_bundled_model_has_a_problem_or_a_named_refusal(name):
    if model(name)[0].family == "iterative-solver":
        with pytest.raises(NotCertified, match="iterative-solver"):
            opened(name)
        return
    subject = opened(name)

    assert subject.description
    assert isinstance(subject.problem.region, Everything)
    inputs = [each.name for each in subject.problem.graph.inputs]
    assert inputs == [each.name for each in model(name)[0].inputs]
    assert subject.problem.graph.nodes


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("poisson-dcdm",)])
def test_the_problem_is_of_the_map_that_the_program_computes(name):
    """One pass, one step, or the slope: of a point, against the program itself in float32."""
    manifest, program = model(name)
    subject = opened(name)
    graph = subject.problem.graph
    generator = torch.Generator().manual_seed(0)
    inputs = [
        0.5 * torch.randn(each.shape, generator=generator).abs() + (each.name == "Re") * 1e5
        for each in graph.inputs
    ]
    flat = torch.cat([each.flatten() for each in inputs]).double().unsqueeze(0)
    found = Execution(graph).function()(flat)[0]
    expected = by_program(manifest, program, inputs).flatten().double()

    assert found.shape == expected.shape
    assert float((found - expected).norm() / expected.norm()) < 1e-3


def by_program(manifest, program, inputs):
    run = program.module(check_guards=False)
    if manifest.family == "feedback-ode":
        x = inputs[0][:, 0]
        return x + 0.01 * run(x, x, torch.ones(1))
    if manifest.family == "memory-rollout":
        return run(inputs[0][:, 0], torch.zeros(1, 64, 48, 2, 16))[0]
    rest = [torch.zeros(1)] if manifest.family == "ode" else []
    rest += [torch.tensor([each.default]) for each in manifest.parameters if each.program_input]
    returned = run(*inputs, *rest)
    first = returned[0] if isinstance(returned, tuple | list) else returned
    if manifest.name == "diffreact-multionet":
        return first.mean(1)
    if manifest.name == "burgers1d-fno":
        return first - first.mean(1, keepdim=True) + inputs[0].mean(1, keepdim=True)
    return first


def test_steps_of_feedback_models_are_those_that_are_served():
    manifest, program = model("spiral-feedback")
    run = program.module(check_guards=False)
    history = np.array([[9.0, 0.0], [8.9, 0.3], [8.8, 0.7]])
    subject = opened("spiral-feedback", ball("x", history), steps=4)
    plan = Cascade(manifest.feedback, manifest.stepping.dt).forecast(4, 3, 1.0)

    x, y = torch.zeros(5, 2), torch.zeros(4, 2)
    x[0] = y[0] = torch.tensor(history[0])
    for move in plan.moves:
        layers = range(move.first, move.first + len(move.gains))
        slopes = [
            run(x[i : i + 1], y[i : i + 1], torch.tensor([g], dtype=torch.float32))
            for i, g in zip(layers, move.gains, strict=True)
        ]
        ahead = [x[i] + move.dt_x * k for i, k in zip(layers, slopes, strict=True)]
        follow = [y[i] + move.dt_y * k for i, k in zip(layers, slopes, strict=True)]
        for i, state, observer in zip(layers, ahead, follow, strict=True):
            if move.dt_x:
                x[i + 1] = state
            if move.dt_y:
                y[i + move.opens] = observer
        if move.measurement is not None:
            x[0] = torch.tensor(history[move.measurement])
    found = Execution(subject.problem.graph).function()(torch.tensor(history).reshape(1, -1))[0]

    assert torch.allclose(found.float(), ahead[0], atol=1e-3)
    assert "closed loop of 3 measurements" in subject.description


def test_rollouts_take_as_many_steps_as_are_asked_for():
    by_number, by_time = (opened("ks1d-ffno", **asked) for asked in ({"steps": 3}, {"t": 0.3}))
    once = Execution(opened("ks1d-ffno").problem.graph).function()
    u = torch.randn(1, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    for subject in (by_number, by_time):
        found = Execution(subject.problem.graph).function()(u)
        assert torch.allclose(found, once(once(once(u))), atol=1e-9)
    assert by_number.out_of_range == ()
    assert opened("ks1d-ffno", steps=16).out_of_range == ("horizon",)


def test_flows_say_that_the_integrator_is_not_certified():
    subject = opened("vanderpol-node", t=2.0)

    assert isinstance(subject.problem.subject, Flow)
    assert subject.problem.subject.duration == 2.0
    assert "not certified" in subject.description
    assert opened("vanderpol-node", t=25.0).out_of_range == ("horizon",)


def test_parameters_of_the_program_are_those_of_the_request():
    slopes = []
    for mu in (1.0, 5.0):
        graph = opened("vanderpol-node", parameters={"mu": mu}).problem.graph
        slopes.append(Execution(graph).function()(torch.tensor([[1.0, 0.5]]).double())[0])

    assert torch.allclose(slopes[1][0], 5.0 * slopes[0][0])
    assert torch.allclose(slopes[1][1], slopes[0][1] / 5.0)


def test_inputs_that_stay_are_constants():
    points = np.array([[0.25]])[0].astype(np.float32)
    subject = opened(
        "diffreact-multionet",
        ball("f", np.zeros(101)),
        inputs={"x": points, "time": points},
    )

    assert [each.name for each in subject.problem.graph.inputs] == ["f"]


def test_one_value_of_an_output_is_the_one_of_its_place():
    whole, one = (opened("ks1d-ffno", component=i) for i in (None, 7))
    u = torch.randn(1, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    found = Execution(one.problem.graph).function()(u)
    assert torch.allclose(found, Execution(whole.problem.graph).function()(u)[:, 7:8])


def test_sets_are_those_of_the_request():
    corners = {"lower": {"y": np.array([0.0, 0.1])}, "upper": {"y": np.array([1.0, 0.2])}}
    region = opened("vanderpol-node", BoxDomain(**corners)).problem.region
    assert isinstance(region, Box)
    assert region.upper["y"].tolist() == [[1.0, 0.2]]

    bounded = ball("y", [0.5, 0.5], lower={"y": np.array([0.45, 0.0])})
    region = opened("vanderpol-node", bounded).problem.region
    assert isinstance(region, Ball)
    assert region.limits is not None
    assert region.limits.lower["y"].tolist() == [[0.45, 0.0]]
    assert bool((region.limits.upper["y"] > 0.6).all())


def test_grid_norms_weigh_by_the_root_of_a_cell():
    coarse, fine = (
        opened("burgers1d-fno", resolution=(n,), input_norm="grid_l2", output_norm="grid_l2")
        for n in (256, 1024)
    )
    for subject, n in ((coarse, 256), (fine, 1024)):
        weights = subject.problem.norms.input_weights
        assert weights is not None
        assert bool(weights.contains(torch.tensor(math.sqrt(1 / n)).double()).all())
        assert subject.problem.norms.inputs == "l2"

    region = opened("burgers1d-fno", ball("u0", np.zeros(256), 0.1, "grid_l2")).problem.region
    assert isinstance(region, Ball)
    assert region.radius == pytest.approx(1.6, rel=1e-12)
    assert region.radius >= 1.6


def test_scales_are_units_of_length():
    scaled = opened(
        "vanderpol-node", input_scale={"y": np.array([2.0, 4.0])}, output_scale={"y": np.array(0.5)}
    ).problem.norms

    assert scaled.input_weights is not None
    assert scaled.output_weights is not None
    assert bool(scaled.input_weights.contains(torch.tensor([0.5, 0.25]).double()).all())
    assert bool(scaled.output_weights.contains(torch.tensor([2.0, 2.0]).double()).all())


def test_what_the_set_keeps_as_it_is_counts_nothing():
    """Of two measurements the last one alone varies: the noise of a sensor, amplified."""
    history = np.array([[9.0, 0.0], [8.9, 0.3]])
    spread = np.array([[0.0, 0.0], [0.1, 0.1]])
    corners = BoxDomain({"x": history - spread}, {"x": history + spread})
    problem = opened("spiral-feedback", corners, steps=3).problem
    jacobian = enclose(problem.graph, problem.require_boxes()).jacobian
    columns = jacobian.rearranged(lambda ends: ends[..., 2:])
    last = float(Norms("l2", "l2").bound(columns))

    assert float(problem.norms.bound(jacobian)) == pytest.approx(last, rel=1e-9)
    assert last < float(Norms("l2", "l2").bound(jacobian))


def test_norms_are_those_of_the_ball_unless_others_are_named():
    norms = opened("vanderpol-node", ball("y", [0.0, 0.0], norm="linf")).problem.norms
    assert (norms.inputs, norms.outputs) == ("linf", "linf")
    norms = opened(
        "vanderpol-node", ball("y", [0.0, 0.0], norm="linf"), output_norm="l1"
    ).problem.norms
    assert (norms.inputs, norms.outputs) == ("linf", "l1")


def test_deviations_of_ensembles_have_no_bound_where_they_may_vanish():
    problem = opened("diffreact-multionet", output="u_std").problem
    lower = {each.name: torch.zeros(each.shape) for each in problem.graph.inputs}
    upper = {name: point + 2.0 for name, point in lower.items()}

    try:
        jacobian = enclose(problem.graph, box(problem.graph, lower, upper)).jacobian
    except CertifierError:
        return
    assert not bool(problem.norms.bound(jacobian).isfinite().any())


FAULTS = {
    "an unknown input": ("vanderpol-node", {"domain": ball("z", [0.0, 0.0])}, "domain.center.z"),
    "a missing input": ("kan-formula", {"domain": ball("x", [0.0])}, "inputs.y"),
    "an input twice": (
        "kan-formula",
        {
            "domain": BallDomain({"x": np.zeros(1), "y": np.zeros(1)}, 0.1, "l2"),
            "inputs": {"y": np.zeros(1)},
        },
        "inputs.y",
    ),
    "a shape": ("vanderpol-node", {"domain": ball("y", [0.0])}, "domain.center.y"),
    "axes": ("vanderpol-node", {"domain": ball("y", [[0.0, 0.0]])}, "domain.center.y"),
    "no number": ("vanderpol-node", {"domain": ball("y", [0.0, math.nan])}, "domain.center.y"),
    "a radius": ("vanderpol-node", {"domain": ball("y", [0, 0], -1.0)}, "domain.radius"),
    "an endless radius": (
        "vanderpol-node",
        {"domain": ball("y", [0, 0], math.inf)},
        "domain.radius",
    ),
    "crossed bounds": (
        "vanderpol-node",
        {"domain": BoxDomain({"y": np.ones(2)}, {"y": np.zeros(2)})},
        "domain.upper.y",
    ),
    "a center outside": (
        "vanderpol-node",
        {"domain": ball("y", [0, 0], lower={"y": np.ones(2)})},
        "domain.lower.y",
    ),
    "nothing that varies": ("vanderpol-node", {"inputs": {"y": np.zeros(2)}}, "inputs"),
    "a resolution": ("burgers1d-fno", {"resolution": (100,)}, "resolution"),
    "too many sizes": ("burgers1d-fno", {"resolution": (256, 256)}, "resolution"),
    "a grid that was not validated": (
        "burgers1d-fno",
        {"domain": ball("u0", np.zeros(100))},
        "domain",
    ),
    "an unknown output": ("burgers1d-fno", {"output": "v"}, "output"),
    "a component": ("burgers1d-fno", {"component": 256}, "component"),
    "a component of a flow": ("vanderpol-node", {"component": 0}, "component"),
    "an unknown parameter": ("vanderpol-node", {"parameters": {"nu": 1.0}}, "parameters.nu"),
    "a parameter": ("vanderpol-node", {"parameters": {"mu": 1e3}}, "parameters.mu"),
    "a parameter that is no number": (
        "vanderpol-node",
        {"parameters": {"mu": math.nan}},
        "parameters.mu",
    ),
    "steps of a map": ("burgers1d-fno", {"steps": 2}, "steps"),
    "a time of a map": ("burgers1d-fno", {"t": 0.5}, "t"),
    "a time between steps": ("ks1d-ffno", {"t": 0.15}, "t.0"),
    "more steps than one graph holds": ("ks1d-ffno", {"steps": 4096}, "steps"),
    "further than one graph holds": ("ks1d-ffno", {"t": 409.6}, "t"),
    "steps and a time": ("ks1d-ffno", {"t": 0.1, "steps": 1}, "steps"),
    "steps and a time of feedback": ("spiral-feedback", {"t": 0.1, "steps": 1}, "steps"),
    "a flow of several measurements": (
        "spiral-feedback",
        {"t": 0.1, "domain": ball("x", np.zeros((2, 2)))},
        "t",
    ),
    "more than can be walked through": (
        "spiral-feedback",
        {"steps": 50, "domain": ball("x", np.zeros((50, 2)))},
        "steps",
    ),
    "a time out of reach": ("vanderpol-node", {"t": 1e308}, "t"),
    "a time out of reach of steps": ("spiral-feedback", {"t": 1e308}, "t"),
    "a negative time": ("vanderpol-node", {"t": -1.0}, "t"),
    "no grid": ("vanderpol-node", {"input_norm": "grid_l2"}, "input_norm"),
    "no grid of the output": ("vanderpol-node", {"output_norm": "grid_l2"}, "output_norm"),
    "a scale of nothing": ("vanderpol-node", {"input_scale": {"z": np.ones(())}}, "input_scale.z"),
    "a scale of 0": ("vanderpol-node", {"input_scale": {"y": np.zeros(())}}, "input_scale.y"),
    "scales of other components": (
        "vanderpol-node",
        {"output_scale": {"y": np.ones(3)}},
        "output_scale.y",
    ),
    "a frozen state": ("ks1d-ffno", {"inputs": {"u": np.zeros(64)}}, "inputs"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_wrong_is_named_with_its_field(fault):
    name, options, field = FAULTS[fault]
    with pytest.raises(InvalidRequest) as caught:
        opened(name, **options)

    assert caught.value.field == field
    assert caught.value.detail


def test_requests_are_values():
    request = CertifyRequest("vanderpol-node", GlobalDomain())

    with pytest.raises(dataclasses.FrozenInstanceError):
        request.seed = 1
    assert request.norms == ("l2", "l2")


def test_what_one_set_keeps_as_it_is_counts_on_another():
    history = np.array([[9.0, 0.0], [8.9, 0.3]])
    kept = np.array([[0.0, 0.0], [0.1, 0.1]])
    thin, wide = (
        opened("spiral-feedback", BoxDomain({"x": history - by}, {"x": history + by}), steps=3)
        for by in (kept, 0.1 * np.ones((2, 2)))
    )
    assert thin.problem.norms.input_weights is not None

    assert thin.on(wide.problem.region).problem.norms.input_weights is None
    assert wide.on(thin.problem.region).problem.norms.input_weights is not None


@pytest.mark.parametrize("name", ["spiral-neural-feedback", "ks1d-ffno", "burgers1d-fno"])
def test_what_is_executed_keeps_all_that_rounds(name):
    """Nothing is left out that only real numbers allow to leave out."""
    subject = opened(name, soundness="float")
    assert subject.executed is not None
    real, executed = subject.problem.graph, subject.executed
    x = torch.randn(1, real.inputs[0].shape[-1], generator=torch.Generator().manual_seed(0))

    assert len(executed.nodes) >= len(real.nodes)
    if name == "spiral-neural-feedback":
        subtractions = [node for node in executed.nodes if node.operator == "aten.sub.Tensor"]
        assert len(subtractions) == 2  # x - y, and the feedback of that minus that of 0
    results = [Execution(graph).function()(x.double()) for graph in (real, executed)]
    assert torch.allclose(*results, atol=1e-6)


def test_of_flows_nothing_is_executed():
    with pytest.raises(NotCertified, match="level real"):
        opened("vanderpol-node", soundness="float")

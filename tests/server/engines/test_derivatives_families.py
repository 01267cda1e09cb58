"""Derivatives of every family, in float64, where differences leave no doubt."""

import itertools
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from certisolve.manifest import Manifest, Postprocess, Program
from certisolve_server.engines import AbstractEngine, SteppingEngine, derive
from certisolve_server.engines.derivatives.integration import IntegratedWalk
from certisolve_server.engines.derivatives.memory import shares
from certisolve_server.engines.derivatives.modes import RowFunction
from certisolve_server.engines.stepping import finish
from certisolve_server.errors import Cancelled, NotDifferentiable
from certisolve_server.jobs import Work
from derivatives import (
    along,
    central_differences,
    frames_along,
    frames_of,
    inner,
    job_of,
    relative,
)
from family_models import (
    DT,
    SIZE,
    Function,
    drift,
    drift_manifest,
    engine_of,
    jacobi,
    members,
    members_manifest,
    pendulum,
    pendulum_manifest,
    recall,
    recall_manifest,
    rotation,
    rotation_manifest,
    screened,
    screened_manifest,
)
from helpers import PERIODIC, field_manifest, parameter

#: Of differences of fourth order in float64; parameters travel as float32.
EXACT = 1e-7
#: Of sums in float64, but for gradients of parameters, which are float32.
TRANSPOSED = 1e-6
RNG = np.random.default_rng(7)
FIELD = RNG.uniform(0.5, 1.5, SIZE)
#: Of the tolerance of an integration over a few periods.
ODE = 1e-4
K = 3

Engine = AbstractEngine | SteppingEngine


@pytest.fixture(autouse=True)
def _one_thread():
    """So small tensors lose more on threads than they gain."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def nodes_manifest(*postprocess: Postprocess) -> Manifest:
    axes = {"x": replace(PERIODIC, convention="nodes", boundary="u = 0")}
    return field_manifest("nodes", axes=axes, postprocess=postprocess)


def squares(u: torch.Tensor) -> torch.Tensor:
    return u * torch.roll(u, 1, dims=1)


def carried(w: torch.Tensor, f: torch.Tensor, rate: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """As `drift`, and not linear."""
    doubled, moved = drift(torch.sin(w), f, rate)
    return doubled, moved


def remembered(u: torch.Tensor, h: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """As `recall`, and not linear."""
    return recall(torch.tanh(u), h)


def bent(y: torch.Tensor, t: torch.Tensor, rate: torch.Tensor) -> torch.Tensor:
    """As `rotation`, and neither linear nor autonomous."""
    return rotation(y, t, rate) * torch.cos(y + t[:, None])


def stiff(y: torch.Tensor, t: torch.Tensor, rate: torch.Tensor) -> torch.Tensor:
    """Both states fall, one of them fast, onto a slow one that is not linear."""
    fast = -40 * rate * (y[:, 0] - y[:, 1].square())
    return torch.stack((fast, -y[:, 1] * torch.cos(t)), dim=1)


def case(
    manifest: Manifest, network: Function, inputs: list[np.ndarray], work: Work, *rest: float
) -> tuple[Engine, list[np.ndarray], Work, tuple[float, ...]]:
    operator = screened if manifest.family == "iterative-solver" else None
    return engine_of(manifest, network, operator=operator), inputs, work, rest


HISTORY = RNG.uniform(0.5, 1.5, (4, SIZE))
CASES: dict[str, Any] = {
    "map": case(field_manifest("squares"), squares, [FIELD], Work()),
    "map with a parameter": case(
        field_manifest("scale", parameters=(parameter("gain", 0.0, 9.0, 3.0),)),
        lambda u, gain: u * torch.sin(gain[:, None] * u),
        [FIELD],
        Work(),
        0.75,
    ),
    "ensemble and conserve": case(members_manifest(), lambda u: members(u**2), [FIELD], Work()),
    "dirichlet": case(
        nodes_manifest(Postprocess(kind="dirichlet", output="u", value=2.0)),
        squares,
        [FIELD],
        Work(),
    ),
    "periodic": case(
        nodes_manifest(Postprocess(kind="periodic", output="u")), squares, [FIELD], Work()
    ),
    "rollout": case(
        drift_manifest(), carried, [FIELD, FIELD[::-1].copy()], Work(steps=(1, 3, 7)), 0.5
    ),
    "memory-rollout": case(recall_manifest(), remembered, [HISTORY], Work(steps=(2, 5))),
    "feedback-ode": case(
        pendulum_manifest(), pendulum, [RNG.uniform(-1, 1, (4, 2))], Work(steps=(1, 2, 6))
    ),
    "ode": case(rotation_manifest(), bent, [np.array([0.7, -0.4])], Work(t=(0.3, 0.9, 1.7)), 2.0),
    "stiff ode": case(
        rotation_manifest(), stiff, [np.array([0.7, 0.4])], Work(t=(0.02, 0.1)), 50.0
    ),
    "iterative-solver": case(
        screened_manifest(), jacobi, [FIELD, FIELD - 1.0], Work(tolerance=1e-12)
    ),
}
ODES = ("ode", "stiff ode")
every = pytest.mark.parametrize("name", CASES)
#: Derivatives of Jacobians take a second of a core.
quick = pytest.mark.parametrize("name", [name for name in CASES if name != "stiff ode"])


def solution(name: str) -> RowFunction:
    """Of rows of inputs and parameters, in float64."""
    engine, inputs, work, parameters = CASES[name]
    if name in ODES:
        # Of the steps that were taken: which they are is no part of the derivative.
        return frames_along(walk_of(name))
    if isinstance(engine, SteppingEngine):
        return frames_of(engine.stepper, job_of(engine.artifact, inputs, [], work, parameters))
    return lambda rows: engine.solve(rows, [work] * len(rows[0])).outputs


def walk_of(name: str) -> IntegratedWalk:
    engine, inputs, work, _ = CASES[name]
    at = [torch.from_numpy(np.asarray(array)) for array in point(name)]
    return IntegratedWalk(engine.stepper, job_of(engine.artifact, inputs, [], work), at)


def taken(name: str, kind: str, directions: list[np.ndarray], **more: Any) -> Any:
    engine, inputs, work, parameters = CASES[name]
    asked = replace(work, kind=kind)
    return derive(engine, job_of(engine.artifact, inputs, directions, asked, parameters), **more)


def point(name: str) -> list[np.ndarray]:
    _, inputs, _, parameters = CASES[name]
    return [*inputs, *map(np.float64, parameters)]


def tangents_of(name: str, count: int = K) -> list[np.ndarray]:
    rng = np.random.default_rng(11)
    return [0.1 * along(rng, array, count) for array in point(name)]


@every
def test_forward_mode_is_the_limit_of_differences(name):
    tangents, at = tangents_of(name), point(name)
    derived = taken(name, "jvp", tangents)
    expected = central_differences(solution(name), at, tangents, step=1e-2)
    assert len(derived.outputs) == 2 * len(expected)
    for found, difference in zip(derived.outputs[len(expected) :], expected, strict=True):
        assert found.shape == difference.shape
        assert relative(found, difference) < EXACT


@every
def test_reverse_mode_is_the_transpose_of_forward_mode(name):
    tangents, rng = tangents_of(name), np.random.default_rng(12)
    forward = taken(name, "jvp", tangents).outputs
    count = len(forward) // 2
    cotangents = [along(rng, array, K) for array in forward[:count]]
    backward = taken(name, "vjp", cotangents).outputs
    assert [array.shape for array in backward[count:]] == [array.shape for array in tangents]
    jvps, vjps = inner(cotangents, forward[count:]), inner(tangents, backward[count:])
    np.testing.assert_allclose(jvps, vjps, rtol=TRANSPOSED)


@quick
def test_the_solution_is_that_of_a_solve(name):
    engine, inputs, work, parameters = CASES[name]
    row = [*inputs, *map(np.float32, parameters)]
    if isinstance(engine, SteppingEngine):
        [alone] = finish(engine, [engine.job(row, work)])
        outputs = alone.outputs
    else:
        alone = engine.launch([[array] for array in row], [work]).wait()
        outputs = alone.row(0)
    derived = taken(name, "jvp", tangents_of(name, 1))
    for found, expected in zip(derived.outputs, outputs, strict=False):
        np.testing.assert_array_equal(found, expected)
    assert derived.findings.keys() >= alone.findings.keys()
    assert derived.finite
    assert derived.t is None
    assert derived.compute_ms > 0


@quick
@pytest.mark.parametrize("kind", ["jvp", "vjp"])
def test_directions_do_not_know_each_other(name, kind):
    tangents = tangents_of(name, 2)
    count = len(taken(name, "jvp", tangents).outputs) // 2
    if kind == "vjp":
        fields = taken(name, "jvp", tangents).outputs[:count]
        tangents = [along(np.random.default_rng(5), array, 2) for array in fields]
    together = taken(name, kind, tangents).outputs[count:]
    alone = [taken(name, kind, [each[i : i + 1] for each in tangents]) for i in range(2)]
    for index, found in enumerate(together):
        parts = np.concatenate([each.outputs[count + index] for each in alone])
        np.testing.assert_allclose(found, parts, rtol=1e-9, atol=1e-11)


@quick
def test_directions_that_are_left_out_are_zero(name):
    tangents = tangents_of(name)
    given = [tangents[0], *(np.zeros((0, *each.shape[1:])) for each in tangents[1:])]
    zeros = [tangents[0], *(np.zeros_like(each) for each in tangents[1:])]
    for found, expected in zip(
        taken(name, "jvp", given).outputs, taken(name, "jvp", zeros).outputs, strict=True
    ):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("memory_bytes", [1, 3_000, 10_000, 100_000])
@pytest.mark.parametrize("name", ["rollout", "memory-rollout", "feedback-ode", "ode", "map"])
def test_less_memory_changes_nothing_of_reverse_mode(name, memory_bytes):
    fields = taken(name, "jvp", tangents_of(name)).outputs
    count = len(fields) // 2
    cotangents = [along(np.random.default_rng(3), array, 5) for array in fields[:count]]
    free = taken(name, "vjp", cotangents).outputs
    bound = taken(name, "vjp", cotangents, memory_bytes=memory_bytes).outputs
    for found, expected in zip(bound, free, strict=True):
        rtol = 1e-12 if found.dtype == np.float64 else 1e-5
        np.testing.assert_allclose(found, expected, rtol=rtol, atol=1e-14)


@pytest.mark.parametrize("name", ODES)
def test_steps_of_an_integration_are_made_again_as_they_were(name):
    solved = taken(name, "jvp", tangents_of(name)).outputs[0]
    walk = walk_of(name)
    [frames] = frames_along(walk)(
        [torch.from_numpy(np.asarray(each))[None] for each in point(name)]
    )
    np.testing.assert_allclose(frames[0].numpy(), solved, rtol=1e-12)
    methods = {each.method.name for each in walk.passes}
    assert methods == ({"tsit5", "rodas3"} if name == "stiff ode" else {"tsit5"})


def test_derivatives_of_an_integration_are_those_of_the_equation():
    """A point that turns at a rate: by its initial condition and by the rate."""
    engine = engine_of(rotation_manifest(), rotation)
    y, rate, times = np.array([0.6, 0.8]), 1.5, (0.4, 2.0)
    tangents = [np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]), np.array([0.0, 0.0, 1.0])]
    work = Work(kind="jvp", t=times)
    frames, found = derive(engine, job_of(engine.artifact, [y], tangents, work, [rate])).outputs
    for index, t in enumerate(times):
        c, s = np.cos(rate * t), np.sin(rate * t)
        np.testing.assert_allclose(
            frames[index], [c * y[0] + s * y[1], c * y[1] - s * y[0]], atol=ODE
        )
        np.testing.assert_allclose(found[:2, index], [[c, -s], [s, c]], atol=ODE)
        by_rate = [t * (c * y[1] - s * y[0]), -t * (c * y[0] + s * y[1])]
        np.testing.assert_allclose(found[2, index], by_rate, atol=ODE)


def test_implicit_steps_are_made_anew_for_their_way_back():
    cotangents = [along(np.random.default_rng(3), np.ones((2, 2)), 1)]
    free = taken("stiff ode", "vjp", cotangents).outputs
    bound = taken("stiff ode", "vjp", cotangents, memory_bytes=1 << 16).outputs
    for found, expected in zip(bound, free, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)


sizes = st.integers(1, 10**6)


@given(st.integers(1, 4096), sizes, sizes, st.integers(1, 256), st.integers(1, 10**10))
def test_shares_of_memory_are_within_it(num_steps, step, state, max_rows, memory):
    rows, segment = shares(
        num_steps, step_bytes=step, state_bytes=state, max_rows=max_rows, memory_bytes=memory
    )
    assert 1 <= rows <= max_rows
    assert 1 <= segment <= num_steps
    kept = segment * step + (0 if segment == num_steps else math.ceil(num_steps / segment) * state)
    assert rows == 1 or rows * kept <= memory


def test_shares_of_one_row_are_about_the_least():
    rows, segment = shares(4096, step_bytes=100, state_bytes=100, max_rows=8, memory_bytes=1)
    assert (rows, segment) == (1, 64)


def test_members_that_agree_poison_no_derivative():
    """Where all members are 0 so is the deviation, and its root has no slope."""
    engine, zero = engine_of(members_manifest(), members), FIELD.copy()
    zero[[3, 7]] = 0
    tangents = [np.ones((1, SIZE))]
    forward = derive(engine, job_of(engine.artifact, [zero], tangents, Work(kind="jvp")))
    assert not forward.outputs[1][[3, 7]].any()
    assert forward.finite
    cotangents = [np.ones((1, SIZE)), np.ones((1, SIZE))]
    backward = derive(engine, job_of(engine.artifact, [zero], cotangents, Work(kind="vjp")))
    assert backward.finite
    jvps, vjps = inner(cotangents, forward.outputs[2:]), inner(tangents, backward.outputs[2:])
    np.testing.assert_allclose(jvps, vjps, rtol=TRANSPOSED)


# --- What has no derivatives ----------------------------------------------------------------------


def test_a_graph_without_derivatives_is_refused_by_name():
    program = Program(format="onnx", file="program.onnx")
    engine = engine_of(field_manifest("graph", program=program, files={program.file: ""}), squares)
    with pytest.raises(NotDifferentiable, match="graph"):
        derive(engine, job_of(engine.artifact, [FIELD], [FIELD[None]], Work(kind="jvp")))


def test_an_onnx_network_does_not_keep_a_linear_system_from_derivatives():
    program = Program(format="onnx", file="program.onnx")
    manifest = screened_manifest(program=program, files={program.file: "", "operator.pt2": ""})
    assert manifest.differentiable


class NoTangent(torch.autograd.Function):
    """Has a derivative in reverse mode alone."""

    generate_vmap_rule = False

    @staticmethod
    def forward(x):
        return x.square()

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, gradient):
        [x] = ctx.saved_tensors
        return 2 * x * gradient


def test_an_operator_without_a_derivative_is_named():
    engine = engine_of(field_manifest("halfway"), NoTangent.apply)
    backward = derive(engine, job_of(engine.artifact, [FIELD], [FIELD[None]], Work(kind="vjp")))
    np.testing.assert_allclose(backward.outputs[1][0], 2 * FIELD**2)
    with pytest.raises(NotDifferentiable, match=r"halfway: .*forward mode"):
        derive(engine, job_of(engine.artifact, [FIELD], [FIELD[None]], Work(kind="jvp")))


def test_whole_numbers_are_held_fixed():
    manifest = field_manifest("gather")
    integers = replace(manifest.inputs[0], name="n", dtype="I64")
    manifest = field_manifest("gather", inputs=(*manifest.inputs, integers))
    engine = engine_of(manifest, lambda u, n: u * n)
    n = np.arange(SIZE)
    none = np.zeros((0, SIZE), np.int64)
    forward = derive(
        engine, job_of(engine.artifact, [FIELD, n], [FIELD[None], none], Work(kind="jvp"))
    )
    np.testing.assert_allclose(forward.outputs[1][0], FIELD * n)
    backward = derive(engine, job_of(engine.artifact, [FIELD, n], [FIELD[None]], Work(kind="vjp")))
    np.testing.assert_allclose(backward.outputs[1][0], FIELD * n)
    assert not backward.outputs[2].any()


def test_an_output_that_no_input_reaches_has_no_gradient():
    engine = engine_of(field_manifest("constant"), lambda u: torch.ones_like(u))
    backward = derive(engine, job_of(engine.artifact, [FIELD], [FIELD[None]], Work(kind="vjp")))
    assert not backward.outputs[1].any()
    forward = derive(engine, job_of(engine.artifact, [FIELD], [FIELD[None]], Work(kind="jvp")))
    assert not forward.outputs[1].any()


# --- What goes wrong ------------------------------------------------------------------------------


def test_a_system_that_does_not_converge_says_so_of_its_derivatives_too():
    manifest = screened_manifest()
    short = replace(manifest.iteration, max_iterations=1)
    engine = engine_of(replace(manifest, iteration=short), lambda r, k: r, operator=screened)
    # The solution itself is zero, at once.
    inputs = [FIELD, np.zeros(SIZE)]
    directions = [np.zeros((0, SIZE)), RNG.normal(size=(1, SIZE))]
    derived = derive(engine, job_of(engine.artifact, inputs, directions, Work(kind="jvp")))
    assert derived.findings["residual"] == 0
    assert derived.findings["converged"] == 0


def test_a_rollout_that_diverges_has_unknown_derivatives():
    engine = engine_of(drift_manifest(), lambda w, f, rate: (w, torch.log(w - 1)))
    inputs = [2 + FIELD.astype(np.float32)] * 2
    directions = [array[None] for array in inputs] + [np.zeros(0)]
    work = Work(kind="jvp", steps=(1, 2, 3))
    derived = derive(engine, job_of(engine.artifact, inputs, directions, work, (0.5,)))
    assert derived.ending == "diverged"
    assert derived.t == (DT,)
    assert not derived.finite
    count = len(engine.artifact.manifest.outputs)
    for field, derivative in zip(derived.outputs[:count], derived.outputs[count:], strict=True):
        assert derivative.shape == (1, *field.shape)
        assert np.isnan(derivative).all()


@pytest.mark.parametrize("name", ["map", "rollout", "ode", "iterative-solver"])
def test_what_nobody_waits_for_is_given_up(name):
    with pytest.raises(Cancelled):
        taken(name, "jvp", tangents_of(name), interrupted=lambda: True)


@pytest.mark.parametrize("kind", ["jvp", "vjp"])
def test_many_steps_are_given_up_on_the_way(kind):
    asked = itertools.count()
    fields = taken("rollout", "jvp", tangents_of("rollout")).outputs[:2]
    directions = tangents_of("rollout") if kind == "jvp" else [each[None] for each in fields]
    with pytest.raises(Cancelled):
        taken("rollout", kind, directions, interrupted=lambda: next(asked) == 5, memory_bytes=1)
    assert next(asked) == 6

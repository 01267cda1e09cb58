"""Derivatives of the bundled models, against differences of the same graphs in float64."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from certisolve_server.artifacts import golden_cases, read_artifact
from certisolve_server.engines import derive, open_device
from certisolve_server.engines.base import AbstractEngine
from certisolve_server.engines.derivatives.integration import IntegratedWalk
from certisolve_server.engines.derivatives.modes import RowFunction, pushforward
from certisolve_server.engines.families import open_engine
from certisolve_server.engines.families.feedback_ode import FeedbackOdeStepper
from certisolve_server.engines.families.map import MapEngine
from certisolve_server.engines.families.ode import OdeStepper
from certisolve_server.engines.families.rollout import RolloutStepper
from certisolve_server.engines.program import Programs
from certisolve_server.engines.stepping import SteppingEngine
from certisolve_server.jobs import Artifact, Work
from derivatives import (
    ARTIFACTS,
    InFloat64,
    along,
    central_differences,
    frames_along,
    frames_of,
    inner,
    job_of,
    relative,
)

#: float32 keeps five digits of a long sum of products.
ROUNDING = 1e-4
#: The members of an ensemble differ by a thousandth of their values, so that of their deviation
#: float32 keeps three digits less.
CANCELLATION = 5e-2
#: Of differences of fourth order with a step of 1e-5, in float64.
TRUNCATION = 1e-6
#: Of a float64 solution and adjoint, each to a residual of 1e-11.
SOLVED = 1e-7
NUM_DIRECTIONS = 3
CPU = open_device("cpu")
ROLLOUTS = ("ks1d-ffno", "ks1d-memno", "ns2d-fno")
#: By damping.
METHODS = {1.0: {"tsit5"}, 30.0: {"tsit5", "rodas3"}}
CASCADES = (
    "projectile-feedback",
    "projectile-neural-feedback",
    "spiral-feedback",
    "spiral-neural-feedback",
)
MAPS = ("burgers1d-fno", "darcy2d-fno", "diffreact-multionet", "kan-formula", "kan-friction")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """So small programs lose more on threads than they gain."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def bundled(name: str) -> Artifact:
    [directory] = (ARTIFACTS / name).iterdir()
    return read_artifact(directory)


def golden_inputs(artifact: Artifact) -> list[np.ndarray]:
    """Of the first golden case, the first row."""
    case = next(iter(golden_cases(artifact)))
    return [case.inputs[spec.name][0] for spec in artifact.manifest.inputs]


def program_in_float64(artifact: Artifact) -> InFloat64:
    return InFloat64(Path(artifact.directory) / artifact.manifest.program.file)


def in_float64(artifact: Artifact) -> RowFunction:
    """The solution map of a `map`, all of it in float64."""
    engine = MapEngine(artifact, CPU, Programs(program_in_float64(artifact)))
    return lambda rows: engine.solve(rows, [Work()] * len(rows[0])).outputs


def doubles(arrays: Sequence[np.ndarray]) -> list[Tensor]:
    return [torch.from_numpy(array.astype(np.float64)) for array in arrays]


def check_adjoint(
    engine: AbstractEngine | SteppingEngine,
    inputs: list[np.ndarray],
    tangents: list[np.ndarray],
    rtol: float,
    parameters: Sequence[float] = (),
    **asked: Any,
) -> None:
    """<v, J u> = <J^T v, u> along random directions v, within `rtol` of |v| |J u|."""
    artifact = engine.artifact
    work = Work(kind="jvp", **asked)
    forward = derive(engine, job_of(artifact, inputs, tangents, work, parameters))
    count = len(artifact.manifest.outputs)
    derivatives = forward.outputs[count:]
    rng = np.random.default_rng(2)
    cotangents = [along(rng, array, NUM_DIRECTIONS) for array in forward.outputs[:count]]
    work = Work(kind="vjp", **asked)
    backward = derive(engine, job_of(artifact, inputs, cotangents, work, parameters))
    gap = inner(cotangents, derivatives) - inner(tangents, backward.outputs[count:])
    scale = np.sqrt(inner(cotangents, cotangents) * inner(derivatives, derivatives))
    assert (np.abs(gap) < rtol * scale).all()


def check_forward(
    exact: RowFunction,
    at: list[np.ndarray],
    tangents: list[np.ndarray],
    served: Sequence[np.ndarray],
    bounds: Sequence[float],
    step: float = 1e-5,
) -> None:
    """Differences agree with forward mode in float64 closely, and within `bounds` with `served`."""
    differences = central_differences(exact, at, tangents, step)
    precise = pushforward(exact, doubles(at), doubles(tangents))
    for found, double, expected, bound in zip(served, precise, differences, bounds, strict=True):
        assert relative(double.numpy(), expected) < TRUNCATION
        assert relative(found, expected) < bound


@pytest.mark.parametrize("name", MAPS)
def test_derivatives_of_maps_are_those_of_their_graphs(name: str) -> None:
    artifact, rng = bundled(name), np.random.default_rng(1)
    engine, at = open_engine(artifact, CPU), golden_inputs(artifact)
    tangents = [along(rng, array, NUM_DIRECTIONS) for array in at]
    outputs = artifact.manifest.outputs
    served = derive(engine, job_of(artifact, at, tangents, Work(kind="jvp"))).outputs
    own = [artifact.manifest.yardstick(spec.name) == spec.name for spec in outputs]
    bounds = [ROUNDING if each else CANCELLATION for each in own]
    check_forward(in_float64(artifact), at, tangents, served[len(outputs) :], bounds)
    check_adjoint(engine, at, tangents, ROUNDING)


@pytest.mark.parametrize("name", ROLLOUTS)
def test_derivatives_of_rollouts_are_those_of_their_steps(name: str) -> None:
    artifact, rng = bundled(name), np.random.default_rng(1)
    engine, at = open_engine(artifact, CPU), golden_inputs(artifact)
    tangents = [along(rng, array, NUM_DIRECTIONS) for array in at]
    work = Work(kind="jvp", steps=(2, 5))
    stepper = RolloutStepper(artifact, CPU, program_in_float64(artifact))
    exact = frames_of(stepper, job_of(artifact, at, [], work))
    frames, found = derive(engine, job_of(artifact, at, tangents, work)).outputs
    assert relative(frames, exact([row[None] for row in doubles(at)])[0][0].numpy()) < ROUNDING
    check_forward(exact, at, tangents, [found], [ROUNDING])
    check_adjoint(engine, at, tangents, ROUNDING, steps=(2, 5))


@pytest.mark.parametrize("name", CASCADES)
def test_derivatives_of_cascades_are_those_of_their_layers(name: str) -> None:
    artifact, rng = bundled(name), np.random.default_rng(1)
    engine, at = open_engine(artifact, CPU), golden_inputs(artifact)
    tangents = [along(rng, array, NUM_DIRECTIONS) for array in at]
    work = Work(kind="jvp", steps=(1, 10, 20))
    stepper = FeedbackOdeStepper(artifact, CPU, program_in_float64(artifact))
    exact = frames_of(stepper, job_of(artifact, at, [], work))
    _, found = derive(engine, job_of(artifact, at, tangents, work)).outputs
    # Short, so that no unit of a network switches within it.
    check_forward(exact, at, tangents, [found], [ROUNDING], step=1e-7)
    check_adjoint(engine, at, tangents, ROUNDING, steps=(1, 10, 20))


@pytest.mark.parametrize("mu", [1.0, 30.0])
def test_derivatives_of_an_integration_are_those_of_its_steps(mu: float) -> None:
    artifact, rng = bundled("vanderpol-node"), np.random.default_rng(1)
    engine, inputs = open_engine(artifact, CPU), golden_inputs(artifact)
    at = [*inputs, np.asarray(mu, np.float32)]
    tangents = [along(rng, array, NUM_DIRECTIONS) for array in at]
    job = job_of(artifact, inputs, tangents, Work(kind="jvp", t=(1.0, 4.0)), [mu])
    frames, found = derive(engine, job).outputs
    stepper = OdeStepper(artifact, CPU, program_in_float64(artifact))
    walk = IntegratedWalk(stepper, job, doubles(at))
    # Which steps are taken is no part of the derivative.
    walk.passes = IntegratedWalk(engine.stepper, job, [torch.from_numpy(a) for a in at]).passes
    assert {each.method.name for each in walk.passes} == METHODS[mu]
    exact = frames_along(walk)
    assert relative(frames, exact([row[None] for row in doubles(at)])[0][0].numpy()) < ROUNDING
    check_forward(exact, at, tangents, [found], [ROUNDING])
    check_adjoint(engine, inputs, tangents, ROUNDING, parameters=(mu,), t=(1.0, 4.0))


def test_derivatives_of_a_linear_system_are_those_of_its_solution() -> None:
    artifact, rng = bundled("poisson-dcdm"), np.random.default_rng(3)
    engine, at = open_engine(artifact, CPU), golden_inputs(artifact)
    # The coefficient must stay positive on the way.
    tangents = [0.1 * along(rng, array, 2) for array in at]
    asked = {"tolerance": 1e-11}
    served = derive(engine, job_of(artifact, at, tangents, Work(kind="jvp", **asked)))
    [expected] = central_differences(
        lambda rows: engine.solve(rows, [Work(**asked)] * len(rows[0])).outputs, at, tangents, 1e-3
    )
    assert relative(served.outputs[1], expected) < ROUNDING
    assert served.findings["converged"] == 1
    check_adjoint(
        engine, at, [0.1 * along(rng, array, NUM_DIRECTIONS) for array in at], SOLVED, **asked
    )

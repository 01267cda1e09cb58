"""Derivatives of the bundled models, against differences of the same graphs in float64."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from certisolve_server.artifacts import golden_cases, read_artifact
from certisolve_server.engines import derive, open_device
from certisolve_server.engines.base import AbstractEngine
from certisolve_server.engines.derivatives.modes import RowFunction, pushforward
from certisolve_server.engines.families import open_engine
from certisolve_server.engines.families.map import MapEngine
from certisolve_server.engines.families.rollout import RolloutStepper
from certisolve_server.engines.program import Programs
from certisolve_server.engines.stepping import SteppingEngine
from certisolve_server.jobs import Artifact, Work
from derivatives import (
    ARTIFACTS,
    InFloat64,
    along,
    central_differences,
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
STEPS = (2, 5)
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


def steps_in_float64(artifact: Artifact, inputs: list[np.ndarray], work: Work) -> RowFunction:
    """The frames of a rollout, all of it in float64."""
    stepper = RolloutStepper(artifact, CPU, program_in_float64(artifact))
    return frames_of(stepper, job_of(artifact, inputs, [], work))


def doubles(arrays: Sequence[np.ndarray]) -> list[Tensor]:
    return [torch.from_numpy(array.astype(np.float64)) for array in arrays]


def check_adjoint(
    engine: AbstractEngine | SteppingEngine,
    at: list[np.ndarray],
    tangents: list[np.ndarray],
    rtol: float,
    **asked,
) -> None:
    """<v, J u> = <J^T v, u> along random directions v, within `rtol` of |v| |J u|."""
    artifact = engine.artifact
    forward = derive(engine, job_of(artifact, at, tangents, Work(kind="jvp", **asked)))
    count = len(artifact.manifest.outputs)
    derivatives = forward.outputs[count:]
    rng = np.random.default_rng(2)
    cotangents = [along(rng, array, NUM_DIRECTIONS) for array in forward.outputs[:count]]
    backward = derive(engine, job_of(artifact, at, cotangents, Work(kind="vjp", **asked)))
    gap = inner(cotangents, derivatives) - inner(tangents, backward.outputs[count:])
    scale = np.sqrt(inner(cotangents, cotangents) * inner(derivatives, derivatives))
    assert (np.abs(gap) < rtol * scale).all()


@pytest.mark.parametrize("name", MAPS)
def test_derivatives_of_maps_are_those_of_their_graphs(name: str) -> None:
    artifact, rng = bundled(name), np.random.default_rng(1)
    engine, at, exact = open_engine(artifact, CPU), golden_inputs(artifact), in_float64(artifact)
    tangents = [along(rng, array, NUM_DIRECTIONS) for array in at]
    differences = central_differences(exact, at, tangents, step=1e-5)
    for found, expected in zip(
        pushforward(exact, doubles(at), doubles(tangents)), differences, strict=True
    ):
        assert relative(found.numpy(), expected) < TRUNCATION
    served = derive(engine, job_of(artifact, at, tangents, Work(kind="jvp")))
    derivatives = served.outputs[len(differences) :]
    for spec, found, expected in zip(
        artifact.manifest.outputs, derivatives, differences, strict=True
    ):
        own = artifact.manifest.yardstick(spec.name) == spec.name
        assert relative(found, expected) < (ROUNDING if own else CANCELLATION)
    check_adjoint(engine, at, tangents, ROUNDING)


@pytest.mark.parametrize("name", ROLLOUTS)
def test_derivatives_of_rollouts_are_those_of_their_steps(name: str) -> None:
    artifact, rng = bundled(name), np.random.default_rng(1)
    engine, at = open_engine(artifact, CPU), golden_inputs(artifact)
    tangents = [along(rng, array, NUM_DIRECTIONS) for array in at]
    work = Work(kind="jvp", steps=STEPS)
    exact = steps_in_float64(artifact, at, work)
    [expected] = central_differences(exact, at, tangents, step=1e-5)
    frames, found = derive(engine, job_of(artifact, at, tangents, work)).outputs
    assert relative(frames, exact([row[None] for row in doubles(at)])[0][0].numpy()) < ROUNDING
    assert relative(found, expected) < ROUNDING
    check_adjoint(engine, at, tangents, ROUNDING, steps=STEPS)


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

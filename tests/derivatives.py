"""Derivatives by other means: the same graphs in float64, and differences."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from certisolve_server.engines.derivatives.modes import RowFunction
from certisolve_server.engines.derivatives.walk import AbstractWalk
from certisolve_server.engines.program import AbstractProgram
from certisolve_server.engines.stepping import AbstractStepper
from certisolve_server.engines.stepping.fixed_course import FixedCourse
from certisolve_server.jobs import Artifact, SolveContext, SolveJob, Work

ARTIFACTS = Path(__file__).parents[1] / "models" / "artifacts"


class InFloat64(AbstractProgram):
    """An exported graph with its weights, and all it computes, in float64."""

    def __init__(self, path: Path) -> None:
        module = torch.export.load(path).module(check_guards=False)
        for node in list(module.graph.nodes):
            if "_assert_tensor_metadata" in str(node.target):
                module.graph.erase_node(node)
                continue
            node.args = tuple(map(_widened, node.args))
            node.kwargs = {name: _widened(value) for name, value in node.kwargs.items()}
        module.recompile()
        self._module = module.double()

    def __call__(self, *inputs: Tensor) -> Sequence[Tensor]:
        returned = self._module(*inputs)
        return returned if isinstance(returned, tuple | list) else (returned,)


def _widened(argument: object) -> object:
    return torch.float64 if argument == torch.float32 else argument


def job_of(
    artifact: Artifact,
    inputs: Sequence[np.ndarray],
    directions: Sequence[np.ndarray],
    work: Work,
    parameters: Sequence[float] = (),
) -> SolveJob:
    """A job of the kind that `work` names."""
    return SolveJob(
        id="job",
        model=artifact.key,
        inputs=tuple(inputs),
        parameters=tuple(parameters),
        submitted_at=0.0,
        context=SolveContext((), {}, None, None, True),
        work=work,
        directions=tuple(directions),
    )


def frames_of(stepper: AbstractStepper[FixedCourse], job: SolveJob) -> RowFunction:
    """The frames that a job wants, of rows of inputs and parameters in whatever precision."""

    def frames(rows: Sequence[Tensor]) -> list[Tensor]:
        course, size = stepper.course(job), len(rows[0])
        state, found = stepper.init(rows, (), [job.work] * size), []
        while not course.at_end:
            state, outputs, _ = stepper.step(state, [course.move] * size)
            if course.launch():
                found.append(outputs)
        return [torch.stack(column, dim=1) for column in zip(*found, strict=True)]

    return frames


def frames_along(walk: AbstractWalk) -> RowFunction:
    """The frames of rows of inputs and parameters that all take these steps."""

    def frames(inputs: Sequence[Tensor]) -> list[Tensor]:
        rows, found = walk.begin(inputs), []
        for each in walk.passes:
            rows, some = walk.step(rows, each)
            found += some
        return [torch.stack(column, dim=1) for column in zip(*found, strict=True)]

    return frames


def central_differences(
    function: RowFunction,
    at: Sequence[np.ndarray],
    directions: Sequence[np.ndarray],
    step: float = 1e-4,
) -> list[np.ndarray]:
    """Along each direction, of fourth order, in float64.

    Args:
        function: of rows.
        at: its arguments, each of shape (...).
        directions: one per argument, each of shape (direction, ...).
        step: h, for directions about as large as the arguments.
    """

    def shifted(shift: float) -> list[np.ndarray]:
        pairs = zip(_doubles(at), _doubles(directions), strict=True)
        rows = [torch.from_numpy(value + shift * step * along) for value, along in pairs]
        with torch.no_grad():
            return [output.numpy() for output in function(rows)]

    values = zip(*map(shifted, (-2.0, -1.0, 1.0, 2.0)), strict=True)
    return [
        (8 * (ahead - back) - (far_ahead - far_back)) / (12 * step)
        for far_back, back, ahead, far_ahead in values
    ]


def _doubles(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    return [np.asarray(array, np.float64) for array in arrays]


def along(rng: np.random.Generator, array: np.ndarray, count: int) -> np.ndarray:
    """Random directions, about as large as most values of an array."""
    size = np.median(np.abs(array)) or 1.0
    return (size * rng.standard_normal((count, *np.shape(array)))).astype(array.dtype)


def relative(actual: np.ndarray, expected: np.ndarray) -> float:
    """Relative L2 difference; the difference itself from zero."""
    difference = np.linalg.norm(np.asarray(actual, np.float64) - expected)
    return float(difference / (np.linalg.norm(expected) or 1.0))


def inner(first: Sequence[np.ndarray], second: Sequence[np.ndarray]) -> np.ndarray:
    """Per direction, the inner product over all of the arrays, in float64."""
    products = [
        (np.asarray(u, np.float64) * v).reshape(len(u), -1).sum(axis=1)
        for u, v in zip(first, second, strict=True)
    ]
    return np.sum(products, axis=0)

"""From a job to the derivatives that it asks for."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from certisolve_server.engines.base import AbstractEngine
from certisolve_server.engines.device import AbstractDevice
from certisolve_server.engines.stepping import SteppingEngine
from certisolve_server.errors import Cancelled, NotDifferentiable
from certisolve_server.jobs import Ending, SolveJob

from .memory import DEFAULT_MEMORY_BYTES
from .solution_map import AbstractSolutionMap
from .solution_maps import solution_map
from .solved import Solved, arguments_of, solve

Array = NDArray[Any]


class Derived(NamedTuple):
    """A solution and its derivatives, as an `Outcome` has them.

    Attributes:
        outputs: those of the solution; then derivatives, each of shape (direction, ...): for `jvp`
            one per output, for `vjp` one per input and then one per parameter. Zero for what is no
            floating-point number; NaN where the solution ended early.
        finite: whether every element of all of these is.
        findings: about the solution; `converged` is 0 also where a derivative has not.
        t: times of the frames, where the solution ended early.
        ending: why it did.
        compute_ms: of all of it.
    """

    outputs: tuple[Array, ...]
    finite: bool
    findings: dict[str, float]
    t: tuple[float, ...] | None
    ending: Ending | None
    compute_ms: float


def derive(
    engine: AbstractEngine | SteppingEngine,
    job: SolveJob,
    *,
    interrupted: Callable[[], bool] = lambda: False,
    memory_bytes: int = DEFAULT_MEMORY_BYTES,
) -> Derived:
    """The solution that a job asks for, and its derivatives along the job's directions.

    Belongs into the thread that launches batches; returns when all is done.

    Args:
        engine: of the job's model.
        job: of the kind `jvp` or `vjp`.
        interrupted: whether the answer is not wanted any more; asked before each step of
            many, and between batches of directions.
        memory_bytes: most that reverse mode keeps at once for its way back, unless a single step
            along a single direction needs more.

    Raises:
        NotDifferentiable: the program has no derivatives, or an operator of it has none.
        Cancelled: interrupted.
    """
    if not engine.artifact.manifest.differentiable:
        raise NotDifferentiable(f"{job.model.name}: its program has no derivatives")

    def check() -> None:
        if interrupted():
            raise Cancelled("the derivatives are not wanted any more")

    started_at = time.perf_counter()
    solved = solve(engine, job)
    findings = dict(solved.findings)
    if solved.ending is None:
        with _recording(engine.device):
            of = solution_map(engine, job, solved, memory_bytes, check)
            derivatives = _derivatives(engine.device, job, of, check)
        if not of.converged:
            findings["converged"] = 0.0
    else:
        derivatives = _unknown(job, solved)
    outputs = (*solved.outputs, *derivatives)
    return Derived(
        outputs=outputs,
        finite=all(bool(np.isfinite(array).all()) for array in outputs),
        findings=findings,
        t=solved.t,
        ending=solved.ending,
        compute_ms=1e3 * (time.perf_counter() - started_at),
    )


@contextmanager
def _recording(device: AbstractDevice) -> Iterator[None]:
    """On the device, in its order, with tensors that derivatives can be taken of."""
    with device.scope(), torch.inference_mode(False), torch.enable_grad():
        yield


def _derivatives(
    device: AbstractDevice, job: SolveJob, of: AbstractSolutionMap, check: Callable[[], None]
) -> list[Array]:
    """Along all directions, as many at once as are best."""
    kind, found = job.work.kind, list[list[Array]]()
    try:
        num_directions, size = _num_directions(job), of.batch_size(kind)
        for start in range(0, num_directions, size):
            check()
            count = min(size, num_directions - start)
            directions = device.stage([_rows(a, start, count) for a in job.directions], count)
            taken = of.jvp(directions) if kind == "jvp" else of.vjp(directions)
            found.append(device.fetch([each.detach() for each in taken])())
    except NotImplementedError as error:
        raise NotDifferentiable(f"{job.model.name}: {error}") from error
    return [np.concatenate(column) for column in zip(*found, strict=True)]


def _num_directions(job: SolveJob) -> int:
    return max(len(array) for array in job.directions)


def _rows(array: Array, start: int, count: int) -> list[Array]:
    """These directions; zeros where there is none."""
    if not len(array):
        return [np.zeros(array.shape[1:], array.dtype)] * count
    return list(array[start : start + count])


def _unknown(job: SolveJob, solved: Solved) -> list[Array]:
    """In place of derivatives of what is not there."""
    like = solved.outputs if job.work.kind == "jvp" else arguments_of(job)
    shapes = [(_num_directions(job), *array.shape) for array in like]
    return [
        np.full(shape, np.nan, array.dtype) if array.dtype.kind == "f" else np.zeros(shape)
        for shape, array in zip(shapes, like, strict=True)
    ]

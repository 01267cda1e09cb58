"""How each family's solutions are differentiated."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from certisolve_server.engines.base import AbstractEngine
from certisolve_server.engines.families.iterative_solver import IterativeSolverEngine
from certisolve_server.engines.families.ode import OdeStepper
from certisolve_server.engines.stepping import AbstractStepper, SteppingEngine
from certisolve_server.jobs import SolveJob, Work

from .direct import DirectPass
from .implicit import LinearSystem
from .integration import IntegratedWalk
from .modes import RowFunction
from .solution_map import AbstractSolutionMap
from .solved import Solved, arguments_of
from .trajectory import Trajectory
from .walk import AbstractWalk, FixedWalk


def solution_map(
    engine: AbstractEngine | SteppingEngine,
    job: SolveJob,
    solved: Solved,
    memory_bytes: int,
    check: Callable[[], None],
) -> AbstractSolutionMap:
    """The map from a job's inputs and parameters to its solution, on the engine's device.

    Args:
        engine: of the job's model.
        job: where derivatives are taken.
        solved: the solution there.
        memory_bytes: most that is kept for a way back.
        check: called before each of many steps; raises what ends the work.
    """
    arguments = engine.device.stage([[array] for array in arguments_of(job)], 1)
    at = [tensor[0] for tensor in arguments]
    max_batch_size = engine.artifact.manifest.max_batch_size
    if isinstance(engine, SteppingEngine):
        walk = _walk(engine.stepper, job, at)
        return Trajectory(walk, at, max_batch_size, memory_bytes, check)
    if isinstance(engine, IterativeSolverEngine):
        [x] = engine.device.stage([[solved.outputs[0]]], 1)
        return LinearSystem(engine, at, x[0], job.work)
    return DirectPass(_pass(engine, job.work), at, max_batch_size, memory_bytes)


def _walk(stepper: AbstractStepper[Any], job: SolveJob, at: Sequence[Tensor]) -> AbstractWalk:
    if isinstance(stepper, OdeStepper):
        return IntegratedWalk(stepper, job, at)
    return FixedWalk(stepper, job)


def _pass(engine: AbstractEngine, work: Work) -> RowFunction:
    def outputs(rows: Sequence[Tensor]) -> Sequence[Tensor]:
        return engine.solve(rows, [work] * len(rows[0])).outputs

    return outputs

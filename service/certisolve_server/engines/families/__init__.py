"""How each family of models answers requests; one family per file."""

from certisolve_server.engines.base import AbstractEngine
from certisolve_server.engines.device import AbstractDevice
from certisolve_server.engines.program import ProgramError, Programs, open_programs
from certisolve_server.engines.stepping import SteppingEngine
from certisolve_server.jobs import Artifact

from .feedback_ode import FeedbackOdeStepper
from .iterative_solver import IterativeSolverEngine
from .map import MapEngine
from .ode import OdeStepper
from .rollout import RolloutStepper

#: Families that answer a batch at once.
_ENGINES: dict[str, type[MapEngine | IterativeSolverEngine]] = {
    "map": MapEngine,
    "iterative-solver": IterativeSolverEngine,
}
#: Families that answer in many steps.
_STEPPERS: dict[str, type[RolloutStepper | FeedbackOdeStepper | OdeStepper]] = {
    "rollout": RolloutStepper,
    "memory-rollout": RolloutStepper,
    "feedback-ode": FeedbackOdeStepper,
    "ode": OdeStepper,
}


def open_engine(artifact: Artifact, device: AbstractDevice) -> AbstractEngine | SteppingEngine:
    """The engine of an artifact's family, with its programs on `device`.

    Raises:
        ProgramError: a program is unsafe or unreadable, or the family is not served.
    """
    family = artifact.manifest.family
    if family not in _ENGINES and family not in _STEPPERS:
        served = ", ".join([*_ENGINES, *_STEPPERS])
        raise ProgramError(f"family {family!r} is not served yet; use {served}")
    return engine_around(artifact, device, open_programs(artifact, device))


def engine_around(
    artifact: Artifact, device: AbstractDevice, programs: Programs
) -> AbstractEngine | SteppingEngine:
    """The engine of a family that is served, around programs that were opened."""
    family = artifact.manifest.family
    if family in _ENGINES:
        return _ENGINES[family](artifact, device, programs)
    stepper = _STEPPERS[family](artifact, device, programs.network)
    return SteppingEngine(artifact, device, stepper, programs.checks)

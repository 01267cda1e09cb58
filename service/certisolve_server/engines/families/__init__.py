"""How each family of models answers requests; one family per file."""

from certisolve_server.engines.base import AbstractEngine
from certisolve_server.engines.device import AbstractDevice
from certisolve_server.engines.program import ProgramError, open_programs
from certisolve_server.jobs import Artifact

from .feedback_ode import FeedbackOdeEngine
from .iterative_solver import IterativeSolverEngine
from .map import MapEngine
from .rollout import RolloutEngine

_FAMILIES: dict[str, type[MapEngine | RolloutEngine | FeedbackOdeEngine | IterativeSolverEngine]]
_FAMILIES = {
    "map": MapEngine,
    "rollout": RolloutEngine,
    "memory-rollout": RolloutEngine,
    "feedback-ode": FeedbackOdeEngine,
    "iterative-solver": IterativeSolverEngine,
}


def open_engine(artifact: Artifact, device: AbstractDevice) -> AbstractEngine:
    """The engine of an artifact's family, with its programs on `device`.

    Raises:
        ProgramError: a program is unsafe or unreadable, or the family is not served.
    """
    family = artifact.manifest.family
    if family not in _FAMILIES:
        raise ProgramError(f"family {family!r} is not served yet; use {', '.join(_FAMILIES)}")
    return _FAMILIES[family](artifact, device, open_programs(artifact, device))

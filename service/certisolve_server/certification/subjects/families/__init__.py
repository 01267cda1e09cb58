"""The map that is certified of a model, by its family."""

from collections.abc import Callable, Mapping

from certisolve_server.certification.subjects.asked import Asked, Described

from .feedback_ode import feedback
from .iterative_solver import linear_solver
from .map import one_pass
from .ode import flow
from .rollout import steps_of_a_rollout

_FAMILIES: Mapping[str, Callable[[Asked], Described]] = {
    "map": one_pass,
    "rollout": steps_of_a_rollout,
    "memory-rollout": steps_of_a_rollout,
    "ode": flow,
    "feedback-ode": feedback,
    "iterative-solver": linear_solver,
}


def described(asked: Asked) -> Described:
    """The map of a request.

    Raises:
        InvalidRequest: of the server's errors: steps or times that the family does not have.
        CertifierError: there is no graph of it that can be certified.
    """
    return _FAMILIES[asked.manifest.family](asked)

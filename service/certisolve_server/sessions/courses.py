"""Which course the sessions of a family take."""

from certisolve.manifest import Manifest
from certisolve_server.errors import InvalidOption

from .advancing import AdvancingCourse
from .course import AbstractCourse
from .feedback import FeedbackCourse

_COURSES: dict[str, type[AbstractCourse]] = {
    "rollout": AdvancingCourse,
    "memory-rollout": AdvancingCourse,
    "ode": AdvancingCourse,
    "feedback-ode": FeedbackCourse,
}


def course_of(manifest: Manifest) -> AbstractCourse:
    """How sessions of a model move.

    Raises:
        InvalidOption: the model does not advance in time.
    """
    course = _COURSES.get(manifest.family)
    if course is None:
        raise InvalidOption(
            f"{manifest.name} is of the family {manifest.family}, which does not advance in time; "
            f"sessions are for {', '.join(_COURSES)}",
            field="model",
        )
    return course(manifest)

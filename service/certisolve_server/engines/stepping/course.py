"""The contract of a course: what one job wants of its steps, and how far it has come."""

from abc import ABC, abstractmethod
from typing import Any

from certisolve_server.jobs import SolveJob

from .frames import Frames
from .values import Ended


class AbstractCourse(ABC):
    """The part of a slot that lives on the host.

    Attributes:
        job: whose slot it is.
        frames: of its answer, so far.
        ended: set once it has come to its end.
    """

    job: SolveJob
    frames: Frames
    ended: Ended | None

    def fail(self, error: Exception) -> None:
        """Nothing comes of it; others are not concerned."""
        self.ended = Ended(error=error)

    @property
    @abstractmethod
    def move(self) -> Any:
        """What the next step is to do with the row; read by the stepper alone."""

    @property
    @abstractmethod
    def num_steps_ahead(self) -> float:
        """Steps after which something is sure to be there: its end, or a frame to be told."""

    @property
    @abstractmethod
    def progress(self) -> float:
        """Share of the work that is done, 0 to 1."""


class FailedCourse(AbstractCourse):
    """Of a job whose beginning raised."""

    def __init__(self, job: SolveJob, error: Exception) -> None:
        self.job = job
        self.frames = Frames(0, told=False)
        self.fail(error)

    @property
    def move(self) -> None:
        return None

    @property
    def num_steps_ahead(self) -> float:
        return 0

    @property
    def progress(self) -> float:
        return 1.0

"""The contract of a stepper: how one family goes forward in time, a step of many rows at once."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from torch import Tensor

from certisolve_server.jobs import Lane, SolveJob, Work

from .course import AbstractCourse

#: Where slots stand: tensors of shape (slot, ...), by name.
Rows = Mapping[str, Tensor]

#: Waits until a step is over and tells the courses what came of it. Whether there is something to
#: report: an end, or a frame to be told.
Look = Callable[[], bool]

CourseT = TypeVar("CourseT", bound=AbstractCourse)


class Stepped(NamedTuple):
    """What a step came to, on the device.

    Attributes:
        rows: after it.
        outputs: of the manifest, of shape (slot, ...): the frames at its end.
        findings: about these, of shape (slot,), by name.
    """

    rows: Rows
    outputs: Sequence[Tensor]
    findings: Mapping[str, Tensor] = {}


class AbstractStepper(ABC, Generic[CourseT]):
    """Steps of one family: `init` and `step` are functions of tensors.

    They change nothing in place, keep nothing, and autograd goes through them, so that derivatives
    can be taken of what is served. A row does not depend on others. `course` and `look` are the
    host's side of it.

    Attributes:
        can_lag: whether a step may be looked at while the next one runs.
    """

    can_lag: bool

    @abstractmethod
    def init(
        self, inputs: Sequence[Tensor], states: Sequence[Tensor], work: Sequence[Work]
    ) -> Rows:
        """Where rows stand before their first step.

        Args:
            inputs: of the manifest, then its parameters, each with a batch dimension.
            states: that sessions go on from, likewise; empty to begin anew.
            work: what is asked of each row.
        """

    @abstractmethod
    def step(self, rows: Rows, moves: Sequence[Any]) -> Stepped:
        """All rows one step further.

        Args:
            rows: from `init` or `step`.
            moves: the `move` of the course of each row in front; rows behind them are padding.
        """

    @abstractmethod
    def course(self, job: SolveJob) -> CourseT:
        """What a job wants of its steps.

        Raises:
            ValueError: nothing, or what the family cannot do.
        """

    @abstractmethod
    def look(self, stepped: Stepped, courses: Sequence[CourseT], before: Stepped | None) -> Look:
        """Start looking at a step that was launched.

        Args:
            stepped: what it came to.
            courses: of the rows in front; rows behind them are padding.
            before: the step before, if it was one of these very rows; None after a rest.
        """

    @abstractmethod
    def rest(self, stepped: Stepped, courses: Sequence[CourseT]) -> None:
        """After this step rows may change places: note what the next `look` needs of it."""

    def prove(self, rows: Rows) -> None:  # most have nothing to prove
        """Try what not every row needs.

        Raises:
            ProgramError: the program cannot do it.
        """

    def aligned(self, rows: Sequence[Rows]) -> Sequence[Rows]:
        """The same with shapes that agree beyond the slots."""
        return rows

    @abstractmethod
    def state_bytes(self, lane: Lane) -> int:
        """What a slot takes on the device."""

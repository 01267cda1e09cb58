"""Steps of the same slots, one after the other."""

from collections import deque
from collections.abc import Sequence
from typing import Any

from .course import AbstractCourse
from .stepper import AbstractStepper, Look, Rows, Stepped


class Stride:
    """Steps some rows, and looks at each step: at once, or while the next one runs.

    Arguments:
        stepper: of the family.
        rows: where they stand; those behind the courses are padding.
        courses: of the rows in front.
        lag: steps that may be under way before one is looked at.

    Attributes:
        num_steps: that were made.
        reported: whether there is something to report: an end, or a frame to be told.
    """

    def __init__(
        self,
        stepper: AbstractStepper[Any],
        rows: Rows,
        courses: Sequence[AbstractCourse],
        lag: int,
    ) -> None:
        self.num_steps = 0
        self.reported = False
        self._stepper = stepper
        self._rows = rows
        self._courses = courses
        self._lag = lag
        self._looks: deque[Look] = deque()
        self._last: Stepped | None = None

    def step(self) -> None:
        """One step further.

        Raises:
            Exception: what the program raises; nothing has changed.
        """
        stepped = self._stepper.step(self._rows, [course.move for course in self._courses])
        self._looks.append(self._stepper.look(stepped, self._courses, self._last))
        self._rows, self._last = stepped.rows, stepped
        self.num_steps += 1
        if len(self._looks) > self._lag:
            self.reported = self._looks.popleft()()

    def rest(self) -> Rows:
        """Where the rows stand after the last step, which has been looked at."""
        while self._looks:
            self._looks.popleft()()
        if self._last is not None:
            self._stepper.rest(self._last, self._courses)
        return self._rows

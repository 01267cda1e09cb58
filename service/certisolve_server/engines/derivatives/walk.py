"""An answer in many steps as a chain of functions that derivatives go through."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import Tensor

from certisolve_server.engines.stepping import AbstractStepper, Rows
from certisolve_server.engines.stepping.fixed_course import FixedCourse
from certisolve_server.jobs import SolveJob

#: Outputs of the manifest at some of the wanted times, each of shape (batch, ...).
Frames = list[Sequence[Tensor]]


class AbstractWalk(ABC):
    """The steps that one job takes, for rows that all take the same.

    Attributes:
        passes: what each step is to do.
    """

    passes: Sequence[Any]

    @abstractmethod
    def begin(self, inputs: Sequence[Tensor]) -> Rows:
        """Where rows of inputs and parameters stand before the first step."""

    @abstractmethod
    def step(self, rows: Rows, each: Any) -> tuple[Rows, Frames]:
        """Where they stand after one of `passes`, and frames that it leads to."""


class FixedPass(NamedTuple):
    """A step of fixed size.

    Attributes:
        move: what it is to do.
        wanted: whether its frame is part of the answer.
    """

    move: Any
    wanted: bool


class FixedWalk(AbstractWalk):
    """Steps of one size.

    Arguments:
        stepper: makes them.
        job: with those that are wanted.
    """

    def __init__(self, stepper: AbstractStepper[FixedCourse], job: SolveJob) -> None:
        self._stepper, self._work = stepper, job.work
        course, passes = stepper.course(job), list[FixedPass]()
        while not course.at_end:
            passes.append(FixedPass(course.move, course.launch()))
        self.passes: Sequence[FixedPass] = passes

    def begin(self, inputs: Sequence[Tensor]) -> Rows:
        return self._stepper.init(inputs, (), [self._work] * len(inputs[0]))

    def step(self, rows: Rows, each: FixedPass) -> tuple[Rows, Frames]:
        size = len(next(iter(rows.values())))
        stepped = self._stepper.step(rows, [each.move] * size)
        return stepped.rows, [stepped.outputs] if each.wanted else []

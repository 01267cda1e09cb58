"""The slots of one lane on the device: who is in them changes between steps."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from certisolve_server.engines.device import AbstractDevice
from certisolve_server.jobs import SolveJob

from .course import AbstractCourse, FailedCourse
from .layout import Group, arrange, put, take
from .stepper import AbstractStepper, Rows
from .stride import Stride
from .values import Ended, Run

#: What is found out about an answer once it is whole.
Examine = Callable[[SolveJob, Ended], Ended]


class SlotBank:
    """Steps jobs of one lane together; used from one thread.

    Arguments:
        stepper: of the family.
        device: where it runs.
        examine: looks at answers before they are told.
    """

    def __init__(
        self, stepper: AbstractStepper[Any], device: AbstractDevice, examine: Examine
    ) -> None:
        self._stepper = stepper
        self._device = device
        self._examine = examine
        self._rows: Rows = {}
        self._courses: list[AbstractCourse] = []

    def lay_out(
        self,
        leaves: Sequence[int],
        moves: Sequence[tuple[int, int]],
        joins: Sequence[tuple[SolveJob, int]],
    ) -> None:
        """Give up slots, close gaps, then take jobs in: `batching.plan.Plan` says how.

        Afterwards the slots 0, 1, ... are taken without a gap. A job whose beginning raises hurts
        nobody else: the next run of its slot tells that it has failed.

        Args:
            leaves: slots that are given up.
            moves: from slot to slot.
            joins: jobs, and the slots they get.
        """
        if not leaves and not moves and not joins:
            return
        stay = dict(enumerate(range(len(self._courses))))
        for slot in leaves:
            del stay[slot]
        for source, target in moves:
            stay[target] = stay.pop(source)
        with self._device.scope():
            courses, groups = self._begin(joins)
            courses |= {slot: self._courses[source] for slot, source in stay.items()}
            size = len(courses)
            sources = [stay.get(slot) for slot in range(size)]
            sources += sources[-1:] * (self._device.padded(size) - size if size else 0)
            # Where nobody stays, new rows need not be as large as those that were there.
            standing = self._rows if stay else {}
            rows, *coming = self._stepper.aligned([standing, *(group.rows for group in groups)])
            joining = [Group(new, each.slots) for new, each in zip(coming, groups, strict=True)]
            self._rows = arrange(rows, sources, joining)
        self._courses = [courses[slot] for slot in range(size)]

    def run(
        self,
        slots: Sequence[int],
        batch_size: int,
        *,
        interrupted: Callable[[], bool],
        max_s: float,
    ) -> Run:
        """Step these slots together until one ends or has a frame to tell; at least once.

        Args:
            slots: ascending.
            batch_size: rows of a step; those beyond the slots are padding, on devices that want it.
            interrupted: asked after every step; True ends the run.
            max_s: seconds after which it ends with the step that is under way.

        Raises:
            Exception: what the first step raises; every state is as before. What a later one
                raises ends the run, and is met again by the next.
        """
        started_at = time.perf_counter()
        courses = [self._courses[slot] for slot in slots]
        padded_size = max(len(slots), min(batch_size, self._device.padded(len(slots))))
        num_steps = 0
        # What could not begin, or was not given up after its end, makes no step.
        if not any(course.ended for course in courses):
            with self._device.scope():
                num_steps = self._step(slots, courses, padded_size, interrupted, started_at + max_s)
        frames = [
            (slot, frame)
            for slot, course in zip(slots, courses, strict=True)
            for frame in course.frames.take_fresh()
        ]
        ended = [
            (slot, self._examine(course.job, course.ended))
            for slot, course in zip(slots, courses, strict=True)
            if course.ended
        ]
        compute_ms = 1e3 * (time.perf_counter() - started_at)
        return Run(frames, ended, num_steps, padded_size, compute_ms)

    def progress(self) -> list[tuple[str, float]]:
        """Jobs that have slots, and the share of the work of each that is done; from any thread."""
        # The list is replaced as a whole by the device's thread.
        return [(course.job.id, course.progress) for course in self._courses]

    def _begin(
        self, joins: Sequence[tuple[SolveJob, int]]
    ) -> tuple[dict[int, AbstractCourse], list[Group]]:
        """Courses by slot, and rows of those that could begin, by shapes of their states."""
        courses: dict[int, AbstractCourse] = {}
        alike: dict[tuple[tuple[int, ...], ...], list[tuple[SolveJob, int]]] = {}
        for job, slot in joins:
            try:
                courses[slot] = self._stepper.course(job)
            except Exception as error:
                courses[slot] = FailedCourse(job, error)
            else:
                shapes = tuple(state.shape for state in job.states)
                alike.setdefault(shapes, []).append((job, slot))
        groups = [group for each in alike.values() for group in self._groups(each, courses)]
        return courses, groups

    def _groups(
        self, joins: Sequence[tuple[SolveJob, int]], courses: dict[int, AbstractCourse]
    ) -> list[Group]:
        jobs, slots = zip(*joins, strict=True)
        try:
            return [Group(begin(self._stepper, self._device, jobs), slots)]
        except Exception as error:
            if len(joins) > 1:  # one of them must not fail the others
                return [group for each in joins for group in self._groups([each], courses)]
            courses[slots[0]] = FailedCourse(jobs[0], error)
            return []

    def _step(
        self,
        slots: Sequence[int],
        courses: Sequence[AbstractCourse],
        size: int,
        interrupted: Callable[[], bool],
        ends_at: float,
    ) -> int:
        """Step until there is something to report; how often."""
        rows = take(self._rows, [*slots, *[slots[-1]] * (size - len(slots))])
        lag = self._device.pipeline_depth - 1 if self._stepper.can_lag else 0
        stride = Stride(self._stepper, rows, courses, lag)
        most = min(course.num_steps_ahead for course in courses)
        stride.step()
        while not stride.reported and stride.num_steps < most:
            if interrupted() or time.perf_counter() >= ends_at:
                break
            try:
                stride.step()
            except Exception:
                break  # the next run meets it again, as its first
        rows = stride.rest()
        everybody = len(slots) == len(self._courses)
        self._rows = rows if everybody else put(self._rows, Group(rows, slots))
        return stride.num_steps


def begin(stepper: AbstractStepper[Any], device: AbstractDevice, jobs: Sequence[SolveJob]) -> Rows:
    """Where jobs stand before their first step; what they go on from has the same shapes.

    Raises:
        Exception: one of them cannot begin.
    """
    inputs = [list(column) for column in zip(*(job.inputs for job in jobs), strict=True)]
    parameters = zip(*(job.parameters for job in jobs), strict=True)
    columns = inputs + [[np.float32(value) for value in column] for column in parameters]
    states = [list(column) for column in zip(*(job.states for job in jobs), strict=True)]
    staged = device.stage([*columns, *states], len(jobs))
    count = len(columns)
    return stepper.init(staged[:count], staged[count:], [job.work for job in jobs])

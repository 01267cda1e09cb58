"""Looking at steps of one size: frames that are wanted, and those that are not finite."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from certisolve_server.engines.device import AbstractDevice, Fetch, FetchRows, FiniteRows

from .fixed_course import FixedCourse
from .stepper import AbstractStepper, Look, Rows, Stepped
from .values import Array


class AbstractFixedStepper(AbstractStepper[FixedCourse]):
    """Steps of one size; a row ends with its last step, or before the first that is not finite.

    Arguments:
        device: where the rows are.
    """

    can_lag = True

    def __init__(self, device: AbstractDevice) -> None:
        self._device = device

    @abstractmethod
    def kept(self, rows: Rows, row: int, course: FixedCourse) -> Sequence[Tensor]:
        """What a session goes on from, of one row, without the slots' dimension."""

    def look(
        self, stepped: Stepped, courses: Sequence[FixedCourse], before: Stepped | None
    ) -> Look:
        device, outputs = self._device, stepped.outputs
        wanted = [row for row, course in enumerate(courses) if course.launch()]
        return _Pass(
            device=device,
            courses=courses,
            passes=[course.passes for course in courses],
            outputs=outputs,
            before=before,
            wanted=wanted,
            finite=device.finite_rows(outputs),
            frames=device.fetch_rows(outputs, wanted) if wanted else None,
            names=tuple(stepped.findings),
            findings=device.fetch(list(stepped.findings.values())) if stepped.findings else None,
            kept=self._fetch_kept(stepped.rows, courses, wanted),
        ).resolve

    def rest(self, stepped: Stepped, courses: Sequence[FixedCourse]) -> None:
        for row, course in enumerate(courses):
            course.last = stepped.outputs, row

    def _fetch_kept(
        self, rows: Rows, courses: Sequence[FixedCourse], wanted: Sequence[int]
    ) -> dict[int, Fetch]:
        keeping = (r for r in wanted if courses[r].at_end and courses[r].job.work.keeps_states)
        return {row: self._device.fetch(self.kept(rows, row, courses[row])) for row in keeping}


@dataclass(slots=True)
class _Pass:
    """A pass under way; what of it the host wants is being fetched.

    Attributes:
        passes: per course, its number.
        before: the pass before, if it was one of the same rows.
        wanted: rows whose frames are.
        names: of the findings.
        kept: per row that is at its end, what its session goes on from.
    """

    device: AbstractDevice
    courses: Sequence[FixedCourse]
    passes: Sequence[int]
    outputs: Sequence[Tensor]
    before: Stepped | None
    wanted: Sequence[int]
    finite: FiniteRows
    frames: FetchRows | None
    names: Sequence[str]
    findings: Fetch | None
    kept: Mapping[int, Fetch]

    def resolve(self) -> bool:
        finite = self.finite()
        # Most passes of long rollouts: nothing is wanted of them but that they are finite.
        if finite is None and self.frames is None and self.findings is None:
            return False
        findings = self._findings()
        frames = dict(zip(self.wanted, self.frames() if self.frames else (), strict=True))
        reported = False
        for row, (course, passes) in enumerate(zip(self.courses, self.passes, strict=True)):
            if course.ended or course.warms_up(passes):
                continue
            try:
                if finite is not None and not finite[row]:
                    self._diverge(course, passes, row)
                else:
                    course.note(findings[row])
                    if row in frames:
                        self._take(course, passes, frames[row], row)
            except MemoryError as error:  # no room for what one of them asks for
                course.fail(error)
            reported = reported or course.ended is not None or course.frames.fresh
        return reported

    def _take(self, course: FixedCourse, passes: int, frame: Sequence[Array], row: int) -> None:
        course.take(passes, frame)
        if course.frames.whole:
            kept = self.kept[row]() if row in self.kept else ()
            course.end(passes, states=tuple(np.array(state) for state in kept))

    def _findings(self) -> Sequence[Mapping[str, float]]:
        if self.findings is None:
            return [{}] * len(self.courses)
        columns = [column.tolist() for column in self.findings()]
        return [dict(zip(self.names, values, strict=True)) for values in zip(*columns, strict=True)]

    def _diverge(self, course: FixedCourse, passes: int, row: int) -> None:
        last = course.last if self.before is None else (self.before.outputs, row)
        before = self._frame(*last) if last else None
        course.diverge(passes, self._frame(self.outputs, row), before)

    def _frame(self, outputs: Sequence[Tensor], row: int) -> Sequence[Array]:
        [frame] = self.device.fetch_rows(outputs, [row])()
        return frame

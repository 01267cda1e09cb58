"""Courses of integrations: how many steps they take is known when they are there."""

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence

import numpy as np

from certisolve_server.engines.stepping.course import AbstractCourse
from certisolve_server.engines.stepping.frames import Frames
from certisolve_server.engines.stepping.values import Array, Ended
from certisolve_server.jobs import Ending, SolveJob


class OdeCourse(AbstractCourse):
    """Steps of its own size, until the last time that is wanted.

    Arguments:
        job: with the times that are wanted.
        stiff: whether it begins with the implicit method.

    Attributes:
        t: reached so far.
        stiff: whether the next step is one of the implicit method.

    Raises:
        ValueError: no times are wanted.
    """

    def __init__(self, job: SolveJob, *, stiff: bool) -> None:
        if not job.work.t:
            raise ValueError("no times are asked for")
        self.job = job
        self.frames = Frames(len(job.work.t), told=job.work.stream)
        self.ended: Ended | None = None
        self.t = 0.0
        self.stiff = stiff

    @property
    def move(self) -> bool:
        return self.stiff

    @property
    def num_steps_ahead(self) -> float:
        return math.inf

    @property
    def progress(self) -> float:
        return self.t / self.job.work.t[-1]

    def due(self) -> Sequence[float]:
        """Times that are wanted, reached, and not told yet."""
        wanted = self.job.work.t
        return wanted[len(self.frames.times) : bisect_right(wanted, self.t)]

    def end(self, findings: Mapping[str, float]) -> None:
        """All frames are there."""
        self._end(findings, None)

    def end_early(self, findings: Mapping[str, float], ending: Ending, last: Array) -> None:
        """No further frames come; `last` is the state at `t`."""
        self.frames.reserve([last])
        told = self.frames.times[-1] if self.frames.times else 0.0
        if self.t > told:
            self.frames.put(self.t, [last])
        self._end(findings, ending)

    def _end(self, findings: Mapping[str, float], ending: Ending | None) -> None:
        outputs = self.frames.outputs()
        self.ended = Ended(
            outputs=outputs,
            finite=all(bool(np.isfinite(output).all()) for output in outputs),
            findings=findings,
            t=tuple(self.frames.times) if ending else None,
            ending=ending,
        )

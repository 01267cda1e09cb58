"""The steps of an integration, made again for derivatives.

Which steps an adaptive method takes is no part of the derivative: that of the steps that were taken
is, with their sizes held fixed (Hairer, Norsett, Wanner, Solving ODEs I, II.6, "internal numerical
differentiation"). So the steps are noted once, for the solution, and rejected ones are never made
again.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from certisolve_server.engines.families.ode import OdeStepper, state_of
from certisolve_server.engines.stepping import Rows
from certisolve_server.integrators import RODAS3, Integrator, interpolate
from certisolve_server.jobs import SolveJob

from .walk import AbstractWalk, Frames


class Stride(NamedTuple):
    """A step that was accepted.

    Attributes:
        method: that made it.
        t_before: where it began.
        t: where it ended.
        wanted: times within it whose frames are part of the answer.
    """

    method: Integrator
    t_before: float
    t: float
    wanted: Sequence[float]


class IntegratedWalk(AbstractWalk):
    """Steps of an integration, their sizes as noted.

    Arguments:
        stepper: makes them.
        job: with the times that are wanted.
        at: inputs and parameters, each of shape (...).
    """

    def __init__(self, stepper: OdeStepper, job: SolveJob, at: Sequence[Tensor]) -> None:
        self._stepper, self._work = stepper, job.work
        with torch.no_grad():
            self.passes: Sequence[Stride] = self._noted(job, at)

    def begin(self, inputs: Sequence[Tensor]) -> Rows:
        return self._stepper.init(inputs, (), [self._work] * len(inputs[0]))

    def step(self, rows: Rows, each: Stride) -> tuple[Rows, Frames]:
        y, f = rows["y"], rows["f"]
        t_before = torch.full_like(rows["t"], each.t_before)
        t = torch.full_like(rows["t"], each.t)
        trial = each.method.attempt(self._stepper.field(rows), t_before, y, f, t - t_before)
        after = {
            **rows,
            "t": t,
            "y": trial.y,
            "f": trial.f,
            "bubble": trial.bubble,
            "t_before": t_before,
            "y_before": y,
            "f_before": f,
        }
        if not each.wanted:
            return after, []
        times = rows["t"].new_tensor(each.wanted).expand(len(y), -1)
        frames = interpolate(state_of(after), times).unbind(1)
        return after, [[frame.view_as(rows["input"])] for frame in frames]

    def _noted(self, job: SolveJob, at: Sequence[Tensor]) -> list[Stride]:
        rows = self.begin([tensor.unsqueeze(0) for tensor in at])
        course, strides, t_before = self._stepper.course(job), list[Stride](), 0.0
        while not course.ended:
            method = RODAS3 if course.move else self._stepper.method
            stepped = self._stepper.step(rows, [course.move])
            self._stepper.look(stepped, [course], None)()
            wanted = [t for t in job.work.t if t_before < t <= course.t]
            if course.t > t_before:
                strides.append(Stride(method, t_before, course.t, wanted))
            rows, t_before = stepped.rows, course.t
        return strides

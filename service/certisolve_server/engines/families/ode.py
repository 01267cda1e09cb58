"""`ode`: a learned vector field, integrated with steps of each request's own.

A request that turns out stiff goes on with a Rosenbrock method, and back when that is over. Every
row takes the same steps alone and among others, as far as the program gives it the same bits.
"""

import math
from collections.abc import Sequence
from dataclasses import fields

import numpy as np
import torch
from torch import Tensor

from certisolve_server.engines.device import AbstractDevice
from certisolve_server.engines.program import AbstractProgram, ProgramError
from certisolve_server.engines.stepping.stepper import AbstractStepper, Look, Rows, Stepped
from certisolve_server.integrators import (
    DOPRI5,
    RODAS3,
    TSIT5,
    Integrator,
    State,
    Status,
    VectorField,
    interpolate,
    is_stiff,
)
from certisolve_server.jobs import Artifact, Ending, Lane, SolveJob, Work

from .ode_course import OdeCourse

_METHODS: dict[str, Integrator] = {each.name: each for each in (DOPRI5, TSIT5, RODAS3)}
_ENDINGS: dict[int, Ending | None] = {
    Status.FINISHED: None,
    Status.DIVERGED: "diverged",
    Status.DT_UNDERFLOW: "dt_underflow",
    Status.MAX_STEPS: "max_steps",
}
_STATE = tuple(field.name for field in fields(State))
#: Of these, tensors that are as large as the state: y, f, both before, and the bubble.
_STATES_PER_ROW = 5
#: Of small states so many are computed at once, or a multiple. Products of matrices round the last
#: rows of a batch otherwise than those in whole blocks, and a row that is rounded otherwise among
#: others may take other steps than alone. Large states would pay for it.
_BLOCK = 4
#: Components of a small state. Larger ones stay with the explicit method: a Jacobian takes a
#: direction per component, and its elimination as many steps one after the other.
_SMALL = 64


class OdeStepper(AbstractStepper[OdeCourse]):
    """A step of the method that suits each row.

    Rows are those of an `integrators.State`, its states flattened, the `parameters`, and the
    `input` for its shape. A move says whether the next step is implicit.

    Attributes:
        method: of steps that are not.

    Raises:
        ProgramError: the method needs derivatives, which ONNX programs do not have.
    """

    # Which method comes next is told by the step before.
    can_lag = False

    def __init__(
        self, artifact: Artifact, device: AbstractDevice, program: AbstractProgram
    ) -> None:
        manifest = artifact.manifest
        assert manifest.integration is not None
        self._device, self._program = device, program
        self._integration = manifest.integration
        self.method = _METHODS[manifest.integration.method]
        self._differentiable = manifest.program.format != "onnx"
        if self.method is RODAS3 and not self._differentiable:
            raise ProgramError("rodas3 needs derivatives, which an ONNX program does not have")
        self._parameters = [
            f"parameter.{spec.name}" for spec in manifest.parameters if spec.program_input
        ]

    def init(
        self, inputs: Sequence[Tensor], states: Sequence[Tensor], work: Sequence[Work]
    ) -> Rows:
        if states:
            raise ValueError("an integration goes on from its last frame alone")
        y, *parameters = inputs
        rows = {"input": y, **dict(zip(self._parameters, parameters, strict=True))}
        default = self._integration
        numbers = torch.tensor(
            [
                (0.0, each.t[-1], each.rtol or default.rtol, each.atol or default.atol)
                for each in work
            ],
            dtype=torch.float64,
            device=y.device,
        )
        t, t_end, rtol, atol = numbers.unbind(1)
        field, max_steps = self.field(rows), default.max_steps
        state = self.method.init(
            field, y.flatten(1), t, t_end, rtol=rtol, atol=atol, max_steps=max_steps
        )
        return rows | _rows(state)

    def step(self, rows: Rows, moves: Sequence[bool]) -> Stepped:
        state = state_of(rows)
        implicit = [row for row, stiff in enumerate(moves) if stiff]
        if not implicit:
            after = self.method.step(self.field(rows), state)
        elif len(implicit) == len(state.t):
            after = RODAS3.step(self.field(rows), state)
        else:
            explicit = [row for row, stiff in enumerate(moves) if not stiff]
            after = self._step_some(rows, state, self.method, explicit) if explicit else state
            after = self._step_some(rows, after, RODAS3, implicit)
        return Stepped({**rows, **_rows(after)}, [after.y.view_as(rows["input"])])

    def course(self, job: SolveJob) -> OdeCourse:
        return OdeCourse(job, stiff=self.method is RODAS3)

    def look(self, stepped: Stepped, courses: Sequence[OdeCourse], before: Stepped | None) -> Look:
        del before
        state = state_of(stepped.rows)
        fetch = self._device.fetch(
            [state.t, state.status, is_stiff(state), state.nfe, state.jacobians, state.rejected]
        )

        def resolve() -> bool:
            t, status, stiff, *counts = (array.tolist() for array in fetch())
            for row, course in enumerate(courses):
                course.t = t[row]
                course.stiff = self.method is RODAS3 or (
                    stiff[row] and self._solvable(stepped.rows)
                )
            self._tell(stepped.rows, state, courses)
            for row, course in enumerate(courses):
                if status[row] != Status.RUNNING and not course.ended:
                    found = _findings(state.y.shape[1], *(count[row] for count in counts))
                    self._end(course, found, _ENDINGS.get(status[row]), stepped.outputs, row)
            return any(course.ended or course.frames.fresh for course in courses)

        return resolve

    def rest(self, stepped: Stepped, courses: Sequence[OdeCourse]) -> None:
        del stepped, courses  # all of it is in the rows

    def prove(self, rows: Rows) -> None:
        if not self._solvable(rows):
            return
        try:
            RODAS3.step(self.field(rows), state_of(rows))
        except Exception as error:
            raise ProgramError(f"it has no Jacobian, which stiff requests need: {error}") from error

    def state_bytes(self, lane: Lane) -> int:
        """The tensors of a row, before and after a step."""
        [shape], [dtype] = lane.shapes, lane.dtypes
        num_states = np.dtype(dtype).itemsize * math.prod(shape)
        return (1 + 2 * _STATES_PER_ROW) * num_states + 2 * 8 * (len(_STATE) + 1)

    def field(self, rows: Rows) -> VectorField:
        """dy/dt of flattened states, with the parameters of these rows."""
        count, *shape = rows["input"].shape
        parameters = [rows[name] for name in self._parameters]
        missing = -count % _BLOCK if math.prod(shape) <= _SMALL else 0
        if not missing:
            return lambda t, y: self._program(y.reshape(-1, *shape), t, *parameters)[0].flatten(1)
        whole = torch.tensor([*range(count), *[count - 1] * missing], device=rows["input"].device)
        parameters = [parameter.index_select(0, whole) for parameter in parameters]

        def field(t: Tensor, y: Tensor) -> Tensor:
            states = y.index_select(0, whole).reshape(-1, *shape)
            [derivative] = self._program(states, t.index_select(0, whole), *parameters)
            return derivative[:count].flatten(1)

        return field

    def _step_some(
        self, rows: Rows, state: State, method: Integrator, some: Sequence[int]
    ) -> State:
        """The state with a step of these rows."""
        index = torch.tensor(some, device=state.t.device)
        taken = {name: rows[name][index] for name in ("input", *self._parameters)}
        return state.put(index, method.step(self.field(taken), state.take(index)))

    def _solvable(self, rows: Rows) -> bool:
        """Whether an implicit step is possible, and not too expensive."""
        return self._differentiable and rows["y"].shape[1] <= _SMALL

    def _tell(self, rows: Rows, state: State, courses: Sequence[OdeCourse]) -> None:
        """Frames at times that the step went past."""
        due = [(row, t) for row, course in enumerate(courses) for t in course.due()]
        if not due:
            return
        where, times = zip(*due, strict=True)
        index = torch.tensor(where, device=state.t.device)
        at = torch.tensor(times, dtype=torch.float64, device=state.t.device)
        y = interpolate(state.take(index), at[:, None]).view(-1, *rows["input"].shape[1:])
        for (row, t), frame in zip(
            due, self._device.fetch_rows([y], range(len(due)))(), strict=True
        ):
            try:
                courses[row].frames.put(t, frame)
            except MemoryError as error:  # no room for what one of them asks for
                courses[row].fail(error)

    def _end(
        self,
        course: OdeCourse,
        findings: dict[str, float],
        ending: Ending | None,
        y: Sequence[Tensor],
        row: int,
    ) -> None:
        if ending is None:
            course.end(findings)
            return
        [[last]] = self._device.fetch_rows(y, [row])()
        course.end_early(findings, ending, last)


def _findings(num_states: int, nfe: int, jacobians: int, rejected: int) -> dict[str, float]:
    """What an answer has cost; a Jacobian is an evaluation per component and one of time."""
    evaluations = nfe + jacobians * (num_states + 1)
    return {"nfe": float(evaluations), "rejected_steps": float(rejected)}


def _rows(state: State) -> dict[str, Tensor]:
    return {name: getattr(state, name) for name in _STATE}


def state_of(rows: Rows) -> State:
    """The part of rows that an integrator knows."""
    return State(**{name: rows[name] for name in _STATE})

"""One step of a whole batch, every sample with its own time, size and outcome."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from . import stiffness
from .initial_step import initial_step
from .pid import PID
from .rowwise import norm
from .state import State, Status, VectorField, at_rest

#: A step is stretched by this share rather than followed by a sliver.
_STRETCH = 1e-6
#: Steps below this share of the times are lost to rounding.
_LEAST_STEP = 16 * torch.finfo(torch.float64).eps
DEFAULT_CONTROLLER = PID()
DEFAULT_RTOL = 1e-6
DEFAULT_ATOL = 1e-9
DEFAULT_MAX_STEPS = 10_000


class Trial(NamedTuple):
    """Where a step would lead."""

    y: Float[Tensor, "batch state"]
    #: f at the end of the step.
    f: Float[Tensor, "batch state"]
    bubble: Float[Tensor, "batch state"]
    #: Estimate of the local error; None for a method without an embedded one.
    error: Float[Tensor, "batch state"] | None = None
    #: |dt lambda| over its largest stable value; None where stability sets no limit.
    stiffness: Float[Tensor, " batch"] | None = None


#: (field, t, y, f(t, y), dt) to the end of the step.
Attempt = Callable[[VectorField, Tensor, Tensor, Tensor, Tensor], Trial]


@dataclass(frozen=True)
class Integrator:
    """A one-step method with its step control.

    Args:
        name: the field's name of the method.
        order: of the error at the end of an interval, as a power of the step.
        embedded_order: of the embedded method; None for fixed steps.
        dense_order: of values between the ends of steps.
        evaluations: of the vector field in a step.
        jacobians: in a step.
        attempt: the method.
        controller: of the step size; unused with fixed steps.
    """

    name: str
    order: int
    embedded_order: int | None
    dense_order: int
    evaluations: int
    attempt: Attempt
    jacobians: int = 0
    controller: PID = DEFAULT_CONTROLLER

    @property
    def adaptive(self) -> bool:
        """Whether the method chooses its steps."""
        return self.embedded_order is not None

    def init(
        self,
        field: VectorField,
        y: Float[Tensor, "batch state"],
        t: Float[Tensor, " batch"],
        t_end: Float[Tensor, " batch"],
        *,
        dt: Float[Tensor, " batch"] | None = None,
        rtol: Float[Tensor, " batch"] | float = DEFAULT_RTOL,
        atol: Float[Tensor, " batch"] | float = DEFAULT_ATOL,
        max_steps: int = DEFAULT_MAX_STEPS,
    ) -> State:
        """The state at t, with all samples running that have a way to go.

        Args:
            field: right-hand side; evaluated once, and once more to find a first step.
            y: initial states, float32 or float64.
            t: initial times; taken as float64.
            t_end: final times, not before t.
            dt: first step of an adaptive method, found if None; every step of another.
            rtol: relative tolerance.
            atol: absolute tolerance.
            max_steps: steps tried before a sample is given up.

        Raises:
            ValueError: no dt for fixed steps or none to go on with, or times that do not ascend.
        """
        if dt is None and not self.adaptive:
            raise ValueError(f"{self.name} takes fixed steps: pass dt")
        if dt is not None and not bool((torch.isfinite(dt) & (dt > 0)).all()):
            raise ValueError("dt must be positive and finite")
        t, t_end = t.double(), t_end.double()
        if not bool((torch.isfinite(t) & torch.isfinite(t_end) & (t <= t_end)).all()):
            raise ValueError("t and t_end must be finite, and t_end not before t")
        state = at_rest(field, y, t, t_end, rtol, atol, max_steps)
        if dt is not None:
            return replace(state, dt=dt.double())
        found = initial_step(field, state, (self.embedded_order or 0) + 1)
        return replace(state, dt=found, nfe=state.nfe + 1)

    def step(self, field: VectorField, state: State) -> State:
        """Try one step with every running sample; the others stay as they are.

        Args:
            field: right-hand side for these very rows.
            state: from `init` or `step`, of this method or another.
        """
        running = state.running
        left = state.t_end - state.t
        last = left <= state.dt * (1 + _STRETCH)
        dt = left.where(last, state.dt).where(running, 0.0)
        trial = self.attempt(field, state.t, state.y, state.f, dt)
        finite = (torch.isfinite(trial.y) & torch.isfinite(trial.f)).all(dim=1)
        error = _error(state, trial)
        accepted = running & finite & (error <= 1)
        tried = running.long()
        state = replace(
            state,
            nfe=state.nfe + self.evaluations * tried,
            jacobians=state.jacobians + self.jacobians * tried,
            accepted=state.accepted + accepted,
            rejected=state.rejected + (running & ~accepted),
        )
        advanced = self._advance(state, trial, accepted, state.t_end.where(last, state.t + dt))
        return self._control(advanced, dt, error, running, accepted, finite)

    def _advance(
        self,
        state: State,
        trial: Trial,
        accepted: Bool[Tensor, " batch"],
        t: Float[Tensor, " batch"],
    ) -> State:
        rows = accepted[:, None]
        if trial.stiffness is not None:
            state = stiffness.observe(state, trial.stiffness, accepted)
        return replace(
            state,
            t=t.where(accepted, state.t),
            y=trial.y.where(rows, state.y),
            f=trial.f.where(rows, state.f),
            t_before=state.t.where(accepted, state.t_before),
            y_before=state.y.where(rows, state.y_before),
            f_before=state.f.where(rows, state.f_before),
            bubble=trial.bubble.where(rows, state.bubble),
        )

    def _control(
        self,
        state: State,
        dt: Float[Tensor, " batch"],
        error: Float[Tensor, " batch"],
        running: Bool[Tensor, " batch"],
        accepted: Bool[Tensor, " batch"],
        finite: Bool[Tensor, " batch"],
    ) -> State:
        """The next steps, and the ends of those that have none."""
        if self.embedded_order is None:
            lost = running & ~finite
        else:
            state = self._resize(state, dt, error, running, accepted)
            least = _LEAST_STEP * torch.maximum(state.t.abs(), state.t_end.abs())
            lost = running & ~accepted & (state.dt < least)
        tries = state.accepted + state.rejected
        status = state.status
        status = status.where(~(running & (tries >= state.max_steps)), int(Status.MAX_STEPS))
        status = status.where(~(lost & finite), int(Status.DT_UNDERFLOW))
        status = status.where(~(lost & ~finite), int(Status.DIVERGED))
        status = status.where(~(accepted & (state.t >= state.t_end)), int(Status.FINISHED))
        return replace(state, status=status)

    def _resize(
        self,
        state: State,
        dt: Float[Tensor, " batch"],
        error: Float[Tensor, " batch"],
        running: Bool[Tensor, " batch"],
        accepted: Bool[Tensor, " batch"],
    ) -> State:
        k = (self.embedded_order or 0) + 1
        grown = self.controller.after_accepted(error, state.errors, k)
        # The first step after a rejection is not followed by a larger one.
        grown = torch.where(state.retrying, grown.clamp(max=1.0), grown)
        shrunk = self.controller.after_rejected(error, k)
        errors = torch.stack((error, state.errors[:, 0]), dim=1)
        return replace(
            state,
            dt=(dt * torch.where(accepted, grown, shrunk)).where(running, state.dt),
            errors=errors.where(accepted[:, None], state.errors),
            retrying=(running & ~accepted).where(running, state.retrying),
        )


def _error(state: State, trial: Trial) -> Float[Tensor, " batch"]:
    """Error in units of the tolerance; infinite where the step leads to nothing.

    Detached: derivatives are those of the steps that were taken, and not of their sizes.
    """
    if trial.error is None:
        return torch.zeros_like(state.t)
    size = torch.maximum(state.y.detach().abs(), trial.y.detach().abs()).double()
    scale = state.atol[:, None] + state.rtol[:, None] * size
    return norm(trial.error.detach().double() / scale).nan_to_num(nan=torch.inf)
